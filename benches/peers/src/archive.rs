//! The scripted server's archive (XEP-0313): so many messages, made as they are asked for.

use std::fmt::Write as _;

use xmppkit::xml::{Node, ns};

use crate::corpus;

pub(crate) struct Archive {
    messages: Vec<String>,
}

impl Archive {
    pub(crate) fn new(count: usize) -> Self {
        Self { messages: corpus::archived(count) }
    }

    /// A page: what follows `after`, or the newest where a page backwards is asked for.
    pub(crate) fn answer(&self, query: Node<'_>, id: &str, account: &str, out: &mut String) {
        let query_id = query.attr("queryid").unwrap_or_default();
        let set = query.child(ns::RSM, "set");
        let said = |name: &str| set.and_then(|set| set.child(ns::RSM, name)).map(|node| node.text().into_owned());
        let max: usize = said("max").and_then(|max| max.parse().ok()).unwrap_or(100);
        let at = |id: String| id.strip_prefix("archive-").and_then(|number| number.parse::<usize>().ok());
        let count = self.messages.len();
        let (from, to) = match said("before") {
            Some(before) => {
                let to = at(before).unwrap_or(count);
                (to.saturating_sub(max), to)
            }
            None => {
                let from = said("after").and_then(at).map_or(0, |after| after + 1);
                (from, count.min(from + max))
            }
        };
        for number in from..to {
            let _ = write!(
                out,
                "<message from='{account}' to='{account}/balcony'><result xmlns='urn:xmpp:mam:2' queryid='{query_id}' \
                 id='archive-{number}'><forwarded xmlns='urn:xmpp:forward:0'>{}</forwarded></result></message>",
                self.messages[number],
            );
        }
        let complete = if said("before").is_some() { from == 0 } else { to == count };
        let _ = write!(out, "<iq type='result' id='{id}'><fin xmlns='urn:xmpp:mam:2' complete='{complete}'>");
        out.push_str("<set xmlns='http://jabber.org/protocol/rsm'>");
        if from < to {
            let _ = write!(out, "<first>archive-{from}</first><last>archive-{}</last>", to - 1);
        }
        out.push_str("</set></fin></iq>");
    }
}
