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

/// What a stanza may take, of which two are the frame.
const MOST: f64 = 3.0;

/// Allocations of a stanza while the corpus is read in this way.
fn allocations(mut read: impl FnMut(&xmppkit::xml::Frame, &mut Tally)) -> f64 {
    let stream = [corpus::HEADER, &corpus::generate(STANZAS)].concat().into_bytes();
    let mut tally = Tally::default();
    let counted = measure(|| each_frame(&stream, |frame| read(&frame, &mut tally)));
    assert_eq!(tally.stanzas(), STANZAS as u64);
    counted.count_total as f64 / STANZAS as f64
}

#[test]
fn a_routed_stanza_takes_at_most_three_allocations() {
    let routes = Routes::new();
    let counted = allocations(|frame, tally| routes.route(frame, tally));
    assert!(counted <= MOST, "{counted} allocations of a stanza");
}
