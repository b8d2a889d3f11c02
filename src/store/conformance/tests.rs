//! The suite on the memory store, and broken stores that the suite must refuse.

mod memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new();
        move || std::future::ready(store.clone())
    });
}

mod small_memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new().max_messages(60).max_outbox(100, 1 << 20);
        move || std::future::ready(store.clone())
    });
}

mod tight_memory {
    crate::store_conformance!({
        let store = crate::store::MemoryStore::new().max_bytes(60 * 1_024).max_outbox(20, 1 << 20);
        move || std::future::ready(store.clone())
    });
}
