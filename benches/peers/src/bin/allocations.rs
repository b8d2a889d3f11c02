//! A program of its own, for the allocator that counts would slow down everything else.

fn main() {
    peers::allocations(|work| allocation_counter::measure(work).count_total);
}
