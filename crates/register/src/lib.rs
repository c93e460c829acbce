//! Registers that agree: each key by a Paxos of its own, without a log and without a leader (CASPaxos, Rystsov, arXiv 1802.07000).
//!
//! A register's value changes by functions: whoever asks hands in "what to make of the value that is there", and the function is applied to the value that the
//! others agree on. An [`acceptor::Acceptor`] is what a replica holds of its registers, a [`proposer::Proposer`] carries requests through, a
//! [`removal::Removal`] makes the room of deleted registers free again. All are pure: messages in, messages and records out, time and randomness handed in.
//!
//! # Contract
//! - **Durable before sent**: records become durable in the order given, and no answer of an acceptor ([`acceptor::Acceptor::receive`], [`removal::answer`])
//!   goes out before all records that were handed out until then are durable, its own or not: an answer may tell what an earlier record says. After a crash the
//!   acceptor is made anew of its durable records ([`acceptor::Acceptor::restore`]), which may be more than were known to be durable.
//! - **Ballots and rounds are versions** of the hybrid logical clock, greater than all that the proposer has heard of, and each is used once. A proposer that
//!   starts anew has an actor that never was one before, or a clock that is later than any version it ever gave.
//! - **One change once**: a request's function may be applied several times, to different values, but at most one of these takes effect, and the answer given
//!   is that of the one that did. What a request that was given up came to is not known; at how many replicas it was, is.
//! - **Epochs**: who the replicas of a key are is decided elsewhere (strong state), epoch by epoch: a set alone, then that with the next one
//!   ([`quorum::Replicas::next`]), then the next one alone, and so on. An acceptor answers requests of the epoch that it is in, and of no other. The epoch
//!   after that of two sets begins when every key has been *carried* in it: when a request of that epoch which is not said to read
//!   ([`proposer::Proposer::ask`]) is done. Only keys that were held at one of a quorum of acceptors when it entered that epoch need it. A replica that ceases to
//!   be one [leaves](acceptor::Acceptor::leave) the key before it becomes one again, or drops everything as it enters an epoch
//!   ([clears](acceptor::Acceptor::clear)).
//!
//! # Why it is right
//! A *quorum* is always one of the epoch in which its members answer. A value is *chosen* at a ballot when a quorum has accepted it at that ballot. The
//! *parent* of a ballot is the greatest ballot that the promises for it told of; its value is what the functions made of the parent's value, or of nothing if
//! no promise told of any. A ballot *follows* its parent, and what that follows, and itself.
//!
//! **Without removal: each ballot that is sent to be accepted follows every lower one that was chosen.** Let *c* be chosen, *b* greater, and all ballots in
//! between as claimed. If the epochs of both are the same or neighbours, their quorums have a member *x* in common: a quorum of two sets contains one of each
//! set alone. *x* accepted *c* before it promised *b*, as it would have refused *c* afterwards. So the promises for *b* told of *c* or more, and their greatest
//! follows *c*. The same holds for two epochs of two sets with one of a single set between them, whose majorities are in both. If *c* is of an epoch further
//! back, every key was carried since, at some ballot *k*: a quorum of its epoch promised *k*, and by then refused all epochs before. It met each quorum of
//! *c*'s epoch in somebody who had thus accepted *c* before, or never will. So what was carried follows *c*, and was chosen; from there the argument begins
//! again. And *c* is not of a later epoch than *b*: whoever is in both quorums promised *b* before entering that epoch, and would have refused a lower ballot
//! in it; where a key was carried in between, the ballot that carried it is above *b* for the same reason, and *c* above that one.
//!
//! **Reading.** All of a quorum held the same ballot since the round began; then that ballot is chosen, and by the above nothing greater had been when the
//! round began. A round's number is never used again, so an answer to an earlier life of the proposer is not taken for one: that would tell what *was* held.
//! Requests that join a round after it was sent wait for the next, or for a value that is accepted after they came.
//!
//! **Each change once.** A value names, for each proposer, the ballot of the last change of that proposer's which it follows. A proposer remembers what it
//! tried for requests that wait, and so knows which of these the parent follows: a request that is part of it is answered from there, any other is applied.
//! What was applied twice is in two tries, of which no ballot follows both. A request is answered when its ballot, or one that follows it, is chosen; tries
//! that are not followed by then never will be, as all greater ballots follow the chosen one. All this holds across epochs too, so requests go on in the next
//! one, with what they tried before.
//!
//! *Too many writers.* A value may leave out the oldest changes, however new they are, if it says up to which ballot it does ([`message::Value::forgotten`]). Who
//! waits for a try up to that, and does not find it, does not know its outcome, and says so ([`proposer::Output::Beaten`]). That is sound whatever clocks show;
//! it happens to those alone whose try lost against changes of half of [`limits::WRITERS`] others before the next one.
//!
//! **Who clears** as it enters an epoch in which it may be a replica has passed over an epoch *j* of two sets that is over. It takes part in nothing of the epochs
//! before any more; so that it forgets what it promised and accepted in them can only keep something from being chosen there. And what was chosen there
//! is followed by what was carried in *j*, by quorums that it was not in: these are what the quorums of later epochs meet. Clearing and entering are
//! one record: if it forgot first, and crashed before it entered, it would take part in its old epoch as one that had promised nothing.
//!
//! **Removal** makes replicas forget, so a ballot may have no parent although something was chosen. Let all replicas of an epoch *e* have said in it that they
//! hold the deletion *d* ([`removal`]); then nothing is left at any of them that *d* does not replace, for ever:
//! - *Every ballot above d that is sent to be accepted has a parent from d on, or none.* In *e*, all who promise it accepted *d* before (they would have
//!   refused *d* afterwards), and tell of *d*, of something later, or of nothing if they removed it. In later epochs, first: a promise in the epoch after *e*
//!   needs a majority of *e*'s replicas, which gave it after they had accepted *d*, so its ballot is greater than *d*, and carrying promises one greater than
//!   *d* to those of the next epoch, and so on. Hence whatever was accepted in later epochs is later than *d*; replicas that came since hold nothing else, as
//!   they began with nothing; the others told of *d* in *e*. In earlier epochs nobody has removed *d* yet: who removes is in *e*.
//! - *Ballots up to d come to nothing*: who holds *d* refuses them, and who removed it refuses, for all keys of which nothing is held, what it had promised for
//!   this one: more than was asked is always allowed, so floors may rise for any key's sake, and nothing that was promised is ever taken back.
//! - *A ballot without a parent is made of nothing, as d was*, and what was chosen after *d* is not forgotten by this removal: it takes exactly *d* away, from
//!   those that hold it and nothing later.
//! - *Which changes of a proposer d follows is forgotten* with it. A value without a parent says so: it names the greatest floor among its promises, which is
//!   at least *d* if *d* was removed in the same epoch ([`message::Value::forgotten`]), and that epoch ([`message::Value::began`]), as replicas that came since have
//!   no floor. A try up to that ballot, or of an earlier epoch, may have taken effect, so its request's outcome is not known
//!   ([`proposer::Output::Beaten`]). A try of an epoch from that one on cannot have been removed before the value began.
//!
//! So a read that finds nothing held at a quorum says rightly that there is nothing, and a single trip is enough for it.
//!
//! Numbered invariants, asserted where they could break:
//! 1. An acceptor accepts nothing below what it promised, and its promise never goes back.
//! 2. A proposer sends one value for a ballot.
//! 3. A value is chosen once a quorum accepted it at one ballot; every value that is accepted at a greater ballot follows it, or a removal of what does.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod acceptor;
pub mod limits;
pub mod message;
pub mod proposer;
pub mod quorum;
pub mod removal;
