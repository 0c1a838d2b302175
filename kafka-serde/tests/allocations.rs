//! Encoding into a buffer that has grown to its size makes no allocation.

use std::alloc::System;

use kafka_serde::{Encoded, I32, I64, Json, List, Optional, Part, Serializer, Target, Utf8};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(serde::Serialize)]
struct Order {
    id: u64,
    price: f64,
    name: String,
    tags: Vec<String>,
    note: Option<String>,
}

/// How often `work` goes to the allocator, in the quietest of many rounds: other threads of the test harness allocate
/// now and then, and what `work` itself does shows in every round.
fn allocations(mut work: impl FnMut()) -> usize {
    let round = || {
        let region = Region::new(ALLOCATOR);
        work();
        let change = region.change();
        change.allocations + change.reallocations
    };
    std::iter::repeat_with(round).take(100).min().unwrap_or(usize::MAX)
}

fn encodings<S: Serializer>(serde: &S, value: &S::Input) -> usize {
    let mut buffer = Vec::with_capacity(1024);
    allocations(|| {
        buffer.clear();
        let encoded = serde.serialize(value, &mut Target::new("orders", Part::Value), &mut buffer);
        assert!(matches!(encoded, Ok(Encoded::Bytes)));
    })
}

/// One test, since tests that run side by side would count each other's allocations.
#[test]
fn encoding_into_a_warm_buffer_allocates_nothing_and_the_counter_counts() {
    let order = Order {
        id: u64::MAX,
        price: 1.0 / 3.0,
        name: "te\u{e9} \"quoted\"\n".into(),
        tags: vec!["hot".into(), "black".into()],
        note: None,
    };
    assert_eq!(encodings(&Json::<Order>::new(), &order), 0);
    assert_eq!(encodings(&I64, &42), 0);
    assert_eq!(encodings(&Utf8, "o-1"), 0);
    assert_eq!(encodings(&Optional::new(I64), &Some(42)), 0);
    assert_eq!(encodings(&List::new(I32), &[1, 2, 3]), 0);
    assert_eq!(encodings(&List::new(Utf8), &["a".to_owned(), "b".to_owned()]), 0);

    let mut target = Target::new("orders", Part::Value);
    let cold = allocations(|| assert!(Json::new().serialize(&order, &mut target, &mut Vec::new()).is_ok()));
    assert!(cold > 0, "a fresh buffer has to grow");
}
