//! The xml layer: framing, routing, reading, typed payloads, writing.
//!
//! `cargo bench --bench xml`; figures are in benches/README.md.

#![allow(missing_docs, reason = "a benchmark has no callers")]

mod corpus;
mod reading;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xmppkit::xml::{OutStanza, ns, write_element};
use xmppkit::xmpp_parsers::chatstates::ChatState;
use xmppkit::xmpp_parsers::displayed_markers::Markable;
use xmppkit::xmpp_parsers::message::{Id, Lang, Message};
use xmppkit::xmpp_parsers::receipts::Request;
use xmppkit::xmpp_parsers::stanza_id::OriginId;

use reading::tally::Tally;
use reading::{Routes, each_frame};

const STANZAS: usize = 2000;

fn decode(c: &mut Criterion) {
    let stream = [corpus::HEADER, &corpus::generate(STANZAS)].concat().into_bytes();
    let routes = Routes::new();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.sample_size(30).measurement_time(Duration::from_secs(4));
    group.bench_function("frames", |b| b.iter(|| each_frame(&stream, |frame| drop(black_box(frame)))));
    group.bench_function("frames, routed by kind and payload", |b| {
        b.iter(|| {
            let mut tally = Tally::default();
            each_frame(&stream, |frame| routes.route(&frame, &mut tally));
            tally
        });
    });
    group.bench_function("what a chat application reads", |b| {
        b.iter(|| {
            let mut tally = Tally::default();
            each_frame(&stream, |frame| reading::read(&frame, &mut tally));
            tally
        });
    });
    group.bench_function("every payload typed", |b| {
        b.iter(|| {
            let mut tally = Tally::default();
            each_frame(&stream, |frame| reading::convert(&frame, &mut tally));
            tally
        });
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let to = "romeo@montague.example".parse().expect("a JID");
    let mut message = Message::chat(Some(to)).with_body(Lang::new(), "wherefore art thou & where?".to_owned());
    message.id = Some(Id("5f2c1c2e-0d3b-4a55".to_owned()));
    let message = message
        .with_payload(ChatState::Active)
        .with_payload(Request)
        .with_payload(Markable)
        .with_payload(OriginId { id: "5f2c1c2e-0d3b-4a55".to_owned() });
    let prepared = OutStanza::message(&message).expect("a message");
    let mut out = Vec::new();
    let mut group = c.benchmark_group("encode");
    group.bench_function("prepared message", |b| {
        b.iter(|| {
            out.clear();
            prepared.write_to(&mut out, None);
            black_box(out.len())
        });
    });
    group.bench_function("typed message", |b| {
        b.iter(|| {
            out.clear();
            write_element(&mut out, &message, ns::CLIENT).expect("a message");
            black_box(out.len())
        });
    });
    group.bench_function("prepare a typed message", |b| b.iter(|| OutStanza::message(&message).expect("a message")));
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
