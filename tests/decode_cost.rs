//! What decoding costs in allocations, which do not depend on the clock: a change that makes it dearer fails here. A binary of its own,
//! for its allocator counts.

#![allow(dead_code, reason = "the benchmarks share corpus and readers")]

#[path = "../benches/corpus/mod.rs"]
mod corpus;
#[path = "../benches/reading/mod.rs"]
mod reading;

use allocation_counter::measure;

use reading::tally::Tally;
use reading::{Routes, each_frame};

const STANZAS: usize = 2_000;

/// The share by which a count may pass what was measured: the corpus is the same on every run, but another standard library or
/// dependency may count a little differently.
const TOLERANCE: f64 = 0.03;

/// Allocations of a stanza while the corpus is read in this way.
fn allocations(mut read: impl FnMut(&xmppkit::xml::Frame, &mut Tally)) -> f64 {
    let stream = [corpus::HEADER, &corpus::generate(STANZAS)].concat().into_bytes();
    let mut tally = Tally::default();
    let counted = measure(|| each_frame(&stream, |frame| read(&frame, &mut tally)));
    assert_eq!(tally.stanzas(), STANZAS as u64);
    counted.count_total as f64 / STANZAS as f64
}

#[test]
fn decoding_takes_no_more_allocations_than_it_took() {
    let routes = Routes::new();
    for (what, measured, counted) in [
        ("frames, routed by kind and payload", 0.18, allocations(|frame, tally| routes.route(frame, tally))),
        ("what a chat application reads", 1.85, allocations(reading::read)),
        ("every payload converted", 35.5, allocations(reading::convert)),
    ] {
        println!("{what}: {counted}");
        assert!(counted <= measured * (1.0 + TOLERANCE), "{what}: {counted} allocations of a stanza, there were {measured}");
    }
}
