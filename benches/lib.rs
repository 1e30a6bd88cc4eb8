//! What the benchmarks and `cargo xtask figures` measure.
//!
//! Heap allocations are counted in everything that links this library.

pub mod forwarding;
pub mod routing;
pub mod sockets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// A number that was promised and measured (`docs/performance.md`).
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Stable name.
    pub name: &'static str,
    /// What was measured in this run.
    pub value: f64,
    /// Unit of value and target.
    pub unit: &'static str,
    /// What is promised, if anything.
    pub target: Option<f64>,
    /// Whether the promise is kept.
    pub ok: bool,
}

impl Figure {
    /// A figure that should not be above its target.
    #[must_use]
    pub fn at_most(name: &'static str, value: f64, unit: &'static str, target: Option<f64>) -> Self {
        Self {
            name,
            value,
            unit,
            target,
            ok: target.is_none_or(|target| value <= target),
        }
    }

    /// A figure that should not be below its target.
    #[must_use]
    pub fn at_least(name: &'static str, value: f64, unit: &'static str, target: Option<f64>) -> Self {
        Self {
            ok: target.is_none_or(|target| value >= target),
            ..Self::at_most(name, value, unit, target)
        }
    }

    /// The figure as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self {
            name,
            value,
            unit,
            target,
            ok,
        } = self;
        let target = target.map_or_else(|| "null".to_owned(), |target| target.to_string());
        format!(r#"{{"name":"{name}","value":{value:.3},"unit":"{unit}","target":{target},"ok":{ok}}}"#)
    }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Heap allocations of this thread so far.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// The system's allocator, counting.
#[derive(Debug)]
struct Counting;

#[expect(
    unsafe_code,
    reason = "the trait is unsafe; every call goes unchanged to the system's allocator"
)]
// SAFETY: memory comes from and goes back to `System` with the caller's own arguments; the counter is a
// plain cell without a destructor, so it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` with `layout`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `memory` came from `System` with `layout`; the caller keeps the rest of the contract.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_json_object_and_knows_whether_it_is_kept() {
        let kept = Figure::at_most("forward_ns_1200b", 812.25, "ns", Some(1000.0));
        assert_eq!(
            kept.to_json(),
            r#"{"name":"forward_ns_1200b","value":812.250,"unit":"ns","target":1000,"ok":true}"#
        );
        assert!(!Figure::at_most("forward_allocs", 0.5, "1/packet", Some(0.0)).ok);
        assert!(
            Figure::at_most("other", 1.0, "ns", None)
                .to_json()
                .contains(r#""target":null"#)
        );
    }
}
