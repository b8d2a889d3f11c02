//! Ids of what is sent.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of an id, which is 20 letters.
const BYTES: usize = 15;
/// How many are asked for at once: a call into the system takes longer than all that follows.
const AT_ONCE: usize = 16;

/// Random bytes of ids to come.
struct Stock {
    bytes: [u8; AT_ONCE * BYTES],
    used: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; AT_ONCE * BYTES], used: AT_ONCE * BYTES }) };
}

/// An id that nobody can guess and that is never used again.
pub(super) fn random() -> Result<String> {
    STOCK.with_borrow_mut(|stock| {
        if stock.used == stock.bytes.len() {
            getrandom::fill(&mut stock.bytes)
                .map_err(|error| Error::new(ErrorKind::Io).with_context(format!("no random numbers: {error}")))?;
            stock.used = 0;
        }
        let id = &mut stock.bytes[stock.used..stock.used + BYTES];
        stock.used += BYTES;
        let text = URL_SAFE_NO_PAD.encode(&*id);
        id.fill(0);
        Ok(text)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_is_another_on_every_thread() {
        let ids = || (0..5 * AT_ONCE).map(|_| random().expect("random")).collect::<Vec<_>>();
        let others = std::thread::spawn(ids);
        let all: HashSet<String> = ids().into_iter().chain(others.join().expect("ids")).collect();
        assert_eq!(all.len(), 10 * AT_ONCE);
        assert!(all.iter().all(|id| id.len() == 20));
    }
}
