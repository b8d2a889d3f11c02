//! What a large roster costs, in processor time of this thread: it grows with the roster where all of it comes, and not at all
//! with one push.

use super::*;
use crate::ext::Ctx;

/// Nanoseconds this thread has spent on a processor; where the system does not tell, the time that has passed.
fn spent() -> u128 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    told.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| start.elapsed().as_nanos())
}

/// The least that the work costs in some runs: what disturbs only adds.
async fn least<F: Future<Output = ()>>(mut work: impl FnMut() -> F) -> u128 {
    let mut least = u128::MAX;
    for _ in 0..3 {
        let before = spent();
        work().await;
        least = least.min(spent() - before);
    }
    least
}

fn item(n: usize, name: &str) -> String {
    format!("<item jid='c{n}@example.org' name='{name} {n}' subscription='both'><group>Friends</group></item>")
}

fn query(frame: &Frame) -> crate::xml::Node<'_> {
    frame.root().children().next().unwrap()
}

/// A client whose roster has this many contacts, as the server sends them.
async fn with(contacts: usize) -> (Client, Ctx, Frame) {
    let client = offline(&Arc::new(MemoryStore::new())).await;
    let items: String = (0..contacts).map(|n| item(n, "Contact")).collect();
    let xml = format!("<iq xmlns='jabber:client'><query xmlns='jabber:iq:roster' ver='v'>{items}</query></iq>");
    let limits = crate::xml::Limits { max_stanza_bytes: usize::MAX, ..Default::default() };
    let frame = Frame::parse_with(&xml, &limits).unwrap();
    let cx = client.ctx();
    client.ext::<RosterService>().unwrap().replace(query(&frame), &cx).await.unwrap();
    assert_eq!(client.roster().snapshot().len(), contacts);
    (client, cx, frame)
}

// Eight times the contacts, so that what disturbs a measurement is far below what it tells apart: a linear cost is eight times as
// much, a quadratic one 64 times. The exact ratio is a row of `scripts/compare`.
#[tokio::test]
async fn loading_costs_in_proportion_to_the_contacts() {
    let cost = async |contacts: usize| {
        let (client, cx, frame) = with(contacts).await;
        let service = client.ext::<RosterService>().unwrap();
        let load = || async { service.replace(query(&frame), &cx).await.unwrap() };
        let fetched = least(load).await;
        let stored = least(|| async { service.load(&cx).await.unwrap() }).await;
        (fetched, stored)
    };
    let (fetched, stored) = cost(2_500).await;
    let (fetched_more, stored_more) = cost(20_000).await;
    assert!(fetched_more <= 15 * fetched, "from the server: {fetched} ns for 2,500, {fetched_more} ns for 20,000");
    assert!(stored_more <= 15 * stored, "from the store: {stored} ns for 2,500, {stored_more} ns for 20,000");
}

#[tokio::test]
async fn a_push_costs_the_same_whatever_the_size_of_the_roster() {
    let cost = async |contacts: usize| {
        let (client, ..) = with(contacts).await;
        // Watched, so that the change is told as well.
        let mut watch = client.roster().watch();
        let mut run = 0;
        let pushes = || {
            run += 1;
            let (client, name) = (client.clone(), format!("Name {run}"));
            async move {
                for n in 0..50 {
                    push(&client, "", &item(n, &name)).await.unwrap();
                }
            }
        };
        let cost = least(pushes).await;
        assert!(matches!(watch.next().now_or_never(), Some(Some(Observed::Reset(_)))));
        cost
    };
    let (few, many) = (cost(100).await, cost(20_000).await);
    assert!(many <= 4 * few, "50 pushes: {few} ns with 100 contacts, {many} ns with 20,000");
}
