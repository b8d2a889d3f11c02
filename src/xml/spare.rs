//! Memory of frames that are gone, for those that come: what one has read is at hand for the next.

use std::cell::RefCell;
use std::sync::Arc;

use super::frame::Inner;

/// How much room texts are given, in bytes: so a frame that is used again has little more than it needs.
const ROOMS: [usize; 9] = [256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];
/// How many of each a thread keeps: about those of one read.
const MOST: usize = 24;

thread_local! {
    static SPARE: RefCell<[Vec<Arc<Inner>>; ROOMS.len()]> = const { RefCell::new([const { Vec::new() }; ROOMS.len()]) };
}

/// How much room a text of this length is given.
pub(super) fn room_for(len: usize) -> usize {
    size(len).map_or(len, |size| ROOMS[size])
}

/// A frame that nobody refers to with room for so many bytes, if the thread has one: the one kept last.
pub(super) fn take(len: usize) -> Option<Arc<Inner>> {
    let size = size(len)?;
    SPARE.try_with(|spare| spare.borrow_mut()[size].pop()).ok().flatten()
}

/// Keeps a frame that nobody else refers to, if there is a place.
pub(super) fn keep(inner: Arc<Inner>) {
    let Some(size) = size(inner.text_room()).filter(|size| ROOMS[*size] == inner.text_room()) else { return };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(|spare| {
        let kept = &mut spare.borrow_mut()[size];
        if kept.capacity() == 0 {
            kept.reserve_exact(MOST);
        }
        if kept.len() < MOST {
            kept.push(inner);
        }
    });
}

fn size(len: usize) -> Option<usize> {
    ROOMS.iter().position(|room| len <= *room)
}
