//! Catches the panics of nodes: a node that finds its state impossible stops, and the run must say where.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// While a node runs on this thread: what its panic said, if it panicked.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
    static CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs `call`. A panic in it is not printed but given back, with its place.
///
/// # Errors
/// `call` panicked.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.with(|catching| *catching.borrow()) {
                CAUGHT.with(|caught| *caught.borrow_mut() = Some(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
    CATCHING.with(|catching| *catching.borrow_mut() = true);
    // What is left behind half done belongs to a node that is dropped.
    let result = catch_unwind(AssertUnwindSafe(call));
    CATCHING.with(|catching| *catching.borrow_mut() = false);
    result.map_err(|_| CAUGHT.with(|caught| caught.borrow_mut().take()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_with_its_place() {
        let error = caught(|| panic!("impossible: {}", 7)).unwrap_err();
        assert!(error.contains("impossible: 7") && error.contains("panics.rs"), "{error}");
        assert_eq!(caught(|| 5), Ok(5));
    }
}
