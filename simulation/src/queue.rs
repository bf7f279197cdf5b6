//! What happens next: events ordered by (virtual time, a tie-break drawn from the seed, order of insertion).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::random::Random;

/// Microseconds since the world began.
pub(crate) type Micros = u64;

/// One millisecond.
pub(crate) const MS: Micros = 1_000;

/// One second.
pub(crate) const SECOND: Micros = 1_000 * MS;

/// The event queue. Events lie in a slab so that the heap moves small keys only.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(Micros, u32, u64, usize)>>,
    slab: Vec<Option<E>>,
    free: Vec<usize>,
    sequence: u64,
    ties: Random,
}

impl<E> Queue<E> {
    /// An empty queue whose ties are broken by `ties`.
    pub(crate) fn new(ties: Random) -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), sequence: 0, ties }
    }

    /// Lets `event` happen at `at`, in no fixed order with others of the same time.
    pub(crate) fn push(&mut self, at: Micros, event: E) {
        let tie = u32::try_from(self.ties.next() >> 32).expect("32 bits");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.slab.len() - 1
        });
        self.slab[slot] = Some(event);
        self.sequence += 1;
        self.heap.push(Reverse((at, tie, self.sequence, slot)));
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(Micros, E)> {
        let Reverse((at, _, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let event = self.slab[slot].take().expect("a slot in the heap is filled");
        Some((at, event))
    }

    /// The next event and its time, if that is not after `until`.
    pub(crate) fn pop_before(&mut self, until: Micros) -> Option<(Micros, E)> {
        let Reverse((at, ..)) = self.heap.peek()?;
        if *at <= until { self.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64) -> Vec<u32> {
        let mut queue = Queue::new(Random::new(seed));
        for event in 0..6 {
            queue.push(Micros::from(event % 2), event);
        }
        std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect()
    }

    #[test]
    fn time_comes_first_and_ties_follow_the_seed() {
        let orders: Vec<_> = (0..20).map(order).collect();
        assert!(orders.iter().all(|order| order[..3].iter().all(|event| event % 2 == 0)));
        assert!(orders.iter().any(|other| *other != orders[0]), "ties must differ among seeds");
        assert_eq!(order(3), order(3));
    }
}
