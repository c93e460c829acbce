//! What keys must show, from the operations alone, and from who had seen what.
//!
//! A key is a set of cells: its one string, the fields of a hash, the members of a set. An operation writes cells, adds to them, or removes what it saw of
//! them. Of the operations that a reader has seen those count that no other of them has seen and replaced. It knows nothing of versions: of
//! concurrent writes any may be the one that is shown.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_crdt::{Actor, Covers, Version, VersionVector};
use steadfast_proof::Violation;
use steadfast_types::NodeId;

/// Names an operation: they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OperationId(pub(crate) usize);

/// What an operation does to one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The cell is this, in place of all that was seen of it.
    Write(Bytes),
    /// So much is added.
    Add(i64),
    /// All that was seen of it is gone.
    Remove,
}

/// Which cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    /// These, each with what is done to it.
    Some(Vec<(Bytes, Effect)>),
    /// All that were seen are removed, and the first is written if there is something to write.
    Whole(Option<Bytes>),
}

/// What a key holds, by cell.
pub(crate) type Shown = BTreeMap<Bytes, Bytes>;

/// One operation that writes.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: Bytes,
    pub(crate) cells: Cells,
    /// All that its replica had seen of the key.
    seen: VersionVector,
    /// All that its client had seen of any key, if it told so.
    past: VersionVector,
    /// The version of the end of the turn that it was part of; `None` until that has ended.
    pub(crate) version: Option<Version>,
    pub(crate) node: NodeId,
    pub(crate) client: usize,
    /// Its client was told that it is done.
    pub(crate) is_acknowledged: bool,
    /// No replica held it durably when the last that held it lost its memory: it may be gone.
    pub(crate) may_be_lost: bool,
    /// A replica has given up on it: who has seen it since may show nothing of it.
    is_let_go: bool,
    pub(crate) text: String,
}

/// Who looks at a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes<'a> {
    /// What was seen of the key.
    pub(crate) seen: &'a VersionVector,
    /// What else is there: of a turn that has not ended.
    pub(crate) open: &'a [OperationId],
}

/// All operations.
#[derive(Debug, Default)]
pub(crate) struct Model {
    operations: Vec<Operation>,
    by_key: BTreeMap<Bytes, Vec<OperationId>>,
    by_version: BTreeMap<Version, Vec<OperationId>>,
    /// Keys of which a part was lost with a machine while it gave them to others: what of it is there, nobody knows.
    unjudged: BTreeSet<Bytes>,
}

impl Operation {
    fn effect(&self, cell: &Bytes) -> Option<Effect> {
        match &self.cells {
            Cells::Some(cells) => cells.iter().find(|(name, _)| name == cell).map(|(_, effect)| effect.clone()),
            Cells::Whole(Some(value)) if cell.is_empty() => Some(Effect::Write(value.clone())),
            Cells::Whole(_) => Some(Effect::Remove),
        }
    }
}

impl Model {
    /// An operation is run. What its replica had seen is `seen` and whatever of its turn came before.
    pub(crate) fn begin(
        &mut self,
        (client, node): (usize, NodeId),
        key: Bytes,
        cells: Cells,
        seen: VersionVector,
        past: VersionVector,
        text: String,
    ) -> OperationId {
        let id = OperationId(self.operations.len());
        self.by_key.entry(key.clone()).or_default().push(id);
        self.operations.push(Operation {
            key,
            cells,
            seen,
            past,
            version: None,
            node,
            client,
            is_acknowledged: false,
            may_be_lost: false,
            is_let_go: false,
            text,
        });
        id
    }

    /// The turn that it was part of ended with this version; `None`: with nothing, or never.
    pub(crate) fn ended(&mut self, id: OperationId, version: Option<Version>) {
        match version {
            Some(version) => {
                self.operations[id.0].version = Some(version);
                self.by_version.entry(version).or_default().push(id);
            }
            None => {
                let key = self.operations[id.0].key.clone();
                self.by_key.entry(key).or_default().retain(|held| *held != id);
            }
        }
    }

    pub(crate) fn get(&self, id: OperationId) -> &Operation {
        &self.operations[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: OperationId) -> &mut Operation {
        &mut self.operations[id.0]
    }

    /// All operations that came to something.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.version.is_some())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.by_key.keys()
    }

    /// Those of these that may be lost with a machine are so marked.
    pub(crate) fn lose(&mut self, is_lost: impl Fn(&Operation, Version) -> bool) {
        for operation in &mut self.operations {
            if let Some(version) = operation.version
                && !operation.may_be_lost
                && is_lost(operation, version)
            {
                operation.may_be_lost = true;
            }
        }
    }

    /// An actor goes on without what it had not written: nobody has seen that.
    pub(crate) fn forget_unwritten(&mut self, actor: Actor, seen: &VersionVector) {
        let is_gone = |version: &Version| version.actor() == actor && !seen.covers(*version);
        let gone = self.by_version.keys().copied().filter(is_gone).collect::<Vec<_>>();
        for id in gone.iter().filter_map(|version| self.by_version.remove(version)).flatten().collect::<Vec<_>>() {
            self.operations[id.0].version = None;
            self.ended(id, None);
        }
    }

    /// A replica gives up on what of these writes it had not seen of some keys.
    pub(crate) fn let_go(&mut self, theirs: &VersionVector, saw: impl Fn(&Bytes, Version) -> bool) -> Result<(), Violation> {
        for operation in &mut self.operations {
            let Some(version) = operation.version.filter(|version| theirs.covers(*version) && !saw(&operation.key, *version)) else {
                continue;
            };
            if operation.is_acknowledged && !operation.may_be_lost {
                return Err(Violation::new("durability", format!("{:?}, {version:?}, was acknowledged, and is given up", operation.text)));
            }
            operation.is_let_go = true;
            self.unjudged.insert(operation.key.clone());
        }
        Ok(())
    }

    fn sees(&self, eyes: Eyes<'_>, id: OperationId) -> bool {
        self.get(id).version.map_or_else(|| eyes.open.contains(&id), |version| eyes.seen.covers(version))
    }

    /// Whether `later` had seen `earlier`, of the same key.
    fn had_seen(&self, later: OperationId, earlier: OperationId) -> bool {
        let [late, early] = [later, earlier].map(|id| self.get(id));
        match early.version {
            Some(_) if late.version == early.version => early.node == late.node && earlier < later,
            Some(version) => late.seen.covers(version),
            // Both are of the turn that has not ended.
            None => late.version.is_none() && early.node == late.node && earlier < later,
        }
    }

    /// The operations on a key that are seen.
    fn visible(&self, key: &Bytes, eyes: Eyes<'_>) -> Vec<OperationId> {
        let of_key = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        of_key.iter().copied().filter(|id| self.sees(eyes, *id)).collect()
    }

    /// Whoever sees an operation sees what it, and its client, had seen. Of what was let go nothing is there that could have a cause.
    pub(crate) fn check_causes(&self, key: &Bytes, eyes: Eyes<'_>) -> Result<(), Violation> {
        let visible = self.visible(key, eyes);
        for id in self.by_key.get(key).into_iter().flatten().filter(|id| !visible.contains(id)) {
            let Some(version) = self.get(*id).version else { continue };
            let caused = |effect: &&OperationId| {
                let effect = self.get(**effect);
                !effect.is_let_go && (effect.seen.covers(version) || effect.past.covers(version))
            };
            if let Some(effect) = visible.iter().find(caused) {
                let (effect, cause) = (self.get(*effect), self.get(*id));
                return Err(Violation::new(
                    "causal order",
                    format!("{:?} is shown, and {:?}, which it followed, is not", effect.text, cause.text),
                ));
            }
        }
        Ok(())
    }

    /// Whether a key may be shown so.
    pub(crate) fn check_shown(&self, key: &Bytes, eyes: Eyes<'_>, shown: &Shown) -> Result<(), Violation> {
        if self.unjudged.contains(key) {
            return Ok(());
        }
        let visible = self.visible(key, eyes);
        let mut cells: BTreeSet<Bytes> = shown.keys().cloned().collect();
        for id in &visible {
            match &self.get(*id).cells {
                Cells::Some(named) => cells.extend(named.iter().map(|(cell, _)| cell.clone())),
                Cells::Whole(Some(_)) => _ = cells.insert(Bytes::new()),
                Cells::Whole(None) => {}
            }
        }
        for cell in &cells {
            let effects = visible.iter().filter_map(|id| Some((*id, self.get(*id).effect(cell)?))).collect::<Vec<_>>();
            let replaces = |effect: &Effect| !matches!(effect, Effect::Add(_));
            let stays = |id: OperationId| !effects.iter().any(|(by, effect)| replaces(effect) && self.had_seen(*by, id));
            let alive = effects.iter().filter(|(id, effect)| *effect != Effect::Remove && stays(*id)).collect::<Vec<_>>();
            let held = shown.get(cell);
            if !may_show(&alive, held) {
                let texts = |ids: Vec<OperationId>| ids.iter().map(|id| format!("{:?}", self.get(*id).text)).collect::<Vec<_>>().join(", ");
                let (live, all) = (texts(alive.iter().map(|(id, _)| *id).collect()), texts(effects.iter().map(|(id, _)| *id).collect()));
                return Err(Violation::new(
                    "model",
                    format!("{key:?} {cell:?} shows {held:?}; that nobody replaced: [{live}], of all that was seen: [{all}]"),
                ));
            }
        }
        Ok(())
    }

    /// All that is held under these versions, and is durable or not: those that were told to be done and are not among them.
    pub(crate) fn missing<'a>(&'a self, seen: &'a VersionVector) -> impl Iterator<Item = &'a Operation> {
        let is_missing = |operation: &&Operation| operation.version.is_some_and(|version| !seen.covers(version));
        self.operations.iter().filter(|operation| operation.is_acknowledged && !operation.may_be_lost).filter(is_missing)
    }

    /// Whether of what is in `past` something on a key is not seen: the first.
    pub(crate) fn unseen(&self, key: &Bytes, past: &VersionVector, eyes: Eyes<'_>) -> Option<&Operation> {
        let of_key = self.by_key.get(key)?.iter().map(|id| self.get(*id));
        of_key.into_iter().find(|operation| operation.version.is_some_and(|version| past.covers(version) && !eyes.seen.covers(version)))
    }
}

/// Whether a cell with these effects, none of which was replaced, may be shown so.
fn may_show(alive: &[&(OperationId, Effect)], held: Option<&Bytes>) -> bool {
    let added = alive.iter().filter_map(|(_, effect)| if let Effect::Add(by) = effect { Some(*by) } else { None });
    let (count, sum) = added.fold((0, 0_i64), |(count, sum), by| (count + 1, sum + by));
    let Some(held) = held else { return alive.is_empty() };
    let number = |text: &Bytes| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    let mut writes = alive.iter().filter_map(|(_, effect)| if let Effect::Write(value) = effect { Some(value) } else { None }).peekable();
    if writes.peek().is_none() {
        return count > 0 && number(held) == Some(sum);
    }
    writes.any(|value| if count == 0 { value == held } else { number(value).map(|base| base + sum) == number(held) })
}

#[cfg(test)]
mod tests {
    use steadfast_crdt::Time;

    use super::*;

    fn version(time: u64, place: u16) -> Version {
        Version::new(Time::at_unix_ms(Time::EPOCH_MS + time), Actor::new(place).expect("a place"))
    }

    struct World {
        model: Model,
    }

    impl World {
        fn run(&mut self, at: (u64, u16), effect: Effect, seen: &[(u64, u16)]) {
            let seen: VersionVector = seen.iter().map(|(time, place)| version(*time, *place)).collect();
            let cells = Cells::Some(vec![(Bytes::new(), effect)]);
            let node = NodeId(u64::from(at.1));
            let id = self.model.begin((0, node), Bytes::from("k"), cells, seen.clone(), seen, format!("{at:?}"));
            self.model.ended(id, Some(version(at.0, at.1)));
        }

        fn shows(&self, seen: &[(u64, u16)], value: Option<&str>) -> bool {
            let seen = seen.iter().map(|(time, place)| version(*time, *place)).collect();
            let shown = value.map(|value| (Bytes::new(), Bytes::copy_from_slice(value.as_bytes()))).into_iter().collect();
            self.model.check_shown(&Bytes::from("k"), Eyes { seen: &seen, open: &[] }, &shown).is_ok()
        }
    }

    #[test]
    fn what_was_replaced_is_not_shown_and_what_was_added_beside_is() {
        let mut world = World { model: Model::default() };
        world.run((1, 1), Effect::Add(5), &[]);
        world.run((2, 2), Effect::Write("10".into()), &[(1, 1)]);
        world.run((3, 1), Effect::Add(2), &[(1, 1)]);
        assert!(world.shows(&[(1, 1)], Some("5")) && world.shows(&[(3, 1)], Some("7")));
        assert!(world.shows(&[(1, 1), (2, 2)], Some("10")) && !world.shows(&[(1, 1), (2, 2)], Some("5")));
        assert!(world.shows(&[(3, 1), (2, 2)], Some("12")) && !world.shows(&[(3, 1), (2, 2)], Some("17")));
        world.run((4, 3), Effect::Remove, &[(3, 1), (2, 2)]);
        assert!(world.shows(&[(3, 1), (2, 2), (4, 3)], None));
        world.run((3, 4), Effect::Write("a".into()), &[]);
        world.run((3, 5), Effect::Write("b".into()), &[]);
        let all = [(3, 1), (2, 2), (4, 3), (3, 4), (3, 5)];
        assert!(world.shows(&all, Some("a")) && world.shows(&all, Some("b")) && !world.shows(&all, Some("12")) && !world.shows(&all, None));
    }

    #[test]
    fn an_effect_without_its_cause_is_found() {
        let mut world = World { model: Model::default() };
        world.run((1, 1), Effect::Add(5), &[]);
        world.run((2, 2), Effect::Add(1), &[(1, 1)]);
        let check = |seen: &[(u64, u16)]| {
            let seen = seen.iter().map(|(time, place)| version(*time, *place)).collect();
            world.model.check_causes(&Bytes::from("k"), Eyes { seen: &seen, open: &[] })
        };
        check(&[(1, 1), (2, 2)]).unwrap();
        check(&[(1, 1)]).unwrap();
        assert_eq!(check(&[(2, 2)]).unwrap_err().checker, "causal order");
    }
}
