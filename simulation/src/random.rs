//! The only source of chance: xoshiro256++ streams seeded by splitmix64, forked per purpose, so that drawing more
//! for one purpose never shifts another. Integers only: the same on every machine.

/// One stream of chance.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut splitmix = seed;
        Self { state: [(); 4].map(|()| mix(&mut splitmix)) }
    }

    /// The stream of `purpose` under this seed: independent of how much of any other stream was drawn.
    pub(crate) fn of(seed: u64, purpose: &str) -> Self {
        let folded = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut splitmix = seed ^ folded;
        Self::new(mix(&mut splitmix))
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Uniform below `bound`; 0 when `bound` is 0. The bias of the multiply-shift is far below what a run can see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product fits")
    }

    /// Uniform in `low..=high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `parts` times in a million.
    pub(crate) fn ppm(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(1_000_000) < u64::from(parts)
    }

    /// True `percent` times in a hundred.
    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// A position in a sequence of `len` elements.
    pub(crate) fn position(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of `of`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.position(of.len())]
    }

    /// Mostly near `typical`, sometimes up to twenty times that: how delays behave.
    pub(crate) fn tailed(&mut self, typical: u64) -> u64 {
        let near = self.within(typical / 2, typical + typical / 2);
        match self.below(200) {
            0 => near * 20,
            1..=9 => near * 4,
            _ => near,
        }
    }
}

fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_purpose() {
        let draw = |purpose| {
            let mut random = Random::of(7, purpose);
            [(); 8].map(|()| random.next())
        };
        assert_eq!(draw("disk"), draw("disk"));
        assert_ne!(draw("disk"), draw("network"));
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[random.position(5)] += 1;
            let drawn = random.within(10, 12);
            assert!((10..=12).contains(&drawn));
        }
        assert!(seen.iter().all(|&count| count > 120), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
