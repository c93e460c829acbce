//! The cost of the API alone: a server whose backend answers every put at once. Prints where it listens, and once a second the CPU time it took.
//!
//! Drive it with any load generator for etcd, for example 64 clients that put 256 bytes.

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// User and system time of this process, microseconds (Linux).
fn cpu_us() -> [u64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    [11, 12].map(|at| ticks(at) * 10_000)
}

#[tokio::main]
async fn main() {
    let fake = fake::Fake::start();
    fake.state().blind = true;
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    println!("listening on {}", fake::serve_on(fake.clone(), &format!("127.0.0.1:{port}")).await);
    let (mut puts, mut cpu) = (fake.state().revision, cpu_us());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (puts_now, cpu_now) = (fake.state().revision, cpu_us());
        if puts_now > puts {
            let done = puts_now - puts;
            let [user, system] = [0, 1].map(|i| (cpu_now[i] - cpu[i]) as f64 / done as f64);
            println!("{done} puts, each {:.2} us of CPU: {user:.2} here, {system:.2} in the kernel", user + system);
        }
        (puts, cpu) = (puts_now, cpu_now);
    }
}
