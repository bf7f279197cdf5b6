//! Bodies of control frames: manifest, snapshot of one log, reset.

use bytes::Bytes;

use super::{Input, Put};
use crate::types::{LogStart, TermStart};

/// Entries at or above `from` with a lower write sequence are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) from: u64,
    pub(crate) sequence: u64,
}

/// Indexes `first..end` whose entries compaction took: they count as there, without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    /// Exclusive.
    pub(crate) end: u64,
    pub(crate) first_offset: i64,
    /// Offset of what follows.
    pub(crate) next_offset: i64,
    /// Kind of the entries that stand for it where entries must be dense.
    pub(crate) kind: u8,
}

/// One segment of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: u64,
    pub(crate) end: u32,
    pub(crate) footer: u32,
    pub(crate) min_sequence: u64,
    pub(crate) digest: [u8; 16],
}

/// Body of a snapshot's begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Ranges of log ids ever used, inclusive, in order.
    pub(crate) used: Vec<(u32, u32)>,
    pub(crate) segments: Vec<Listed>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(8 + self.used.len() * 8 + self.segments.len() * 40);
        out.put_count(self.used.len());
        for (first, last) in &self.used {
            out.put_u32(*first);
            out.put_u32(*last);
        }
        out.put_count(self.segments.len());
        for listed in &self.segments {
            out.put_u64(listed.id);
            out.put_u32(listed.end);
            out.put_u32(listed.footer);
            out.put_u64(listed.min_sequence);
            out.extend_from_slice(&listed.digest);
        }
        out.into()
    }

    pub(crate) fn decode(body: Bytes) -> Option<Self> {
        let mut input = Input(body);
        let count = input.count(8)?;
        let used = (0..count).map(|_| Some((input.u32()?, input.u32()?))).collect::<Option<Vec<_>>>()?;
        let count = input.count(40)?;
        let segments = (0..count).map(|_| listed(&mut input)).collect::<Option<Vec<_>>>()?;
        Some(Self { used, segments })
    }
}

fn listed(input: &mut Input) -> Option<Listed> {
    Some(Listed {
        id: input.u64()?,
        end: input.u32()?,
        footer: input.u32()?,
        min_sequence: input.u64()?,
        digest: input.bytes(16)?.as_ref().try_into().ok()?,
    })
}

/// All of a log but its entries: what control frames change and snapshots hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) epoch: u32,
    pub(crate) suspect: bool,
    pub(crate) start: LogStart,
    pub(crate) last_index: u64,
    pub(crate) next_offset: i64,
    pub(crate) meta: Bytes,
    pub(crate) hard_state: Bytes,
    pub(crate) checkpoint: Option<(u64, Bytes)>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) term_starts: Vec<TermStart>,
    /// In order, none touching the next.
    pub(crate) gaps: Vec<Gap>,
}

impl Control {
    pub(crate) fn encode(&self) -> Bytes {
        let empty = Bytes::new();
        let (checkpoint_index, checkpoint) =
            self.checkpoint.as_ref().map_or((0, &empty), |(index, state)| (*index, state));
        let opaque = self.meta.len() + self.hard_state.len() + checkpoint.len();
        let lists = self.cuts.len() * 16 + self.term_starts.len() * 20 + self.gaps.len() * GAP_LEN;
        let mut out = Vec::with_capacity(88 + opaque + lists);
        out.extend_from_slice(&[
            u8::from(self.suspect),
            u8::from(self.checkpoint.is_some()),
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        out.put_u64(self.start.index);
        out.put_u64(u64::from(self.start.term));
        out.put_i64(self.start.next_offset);
        out.put_u64(self.last_index);
        out.put_i64(self.next_offset);
        out.put_u64(checkpoint_index);
        out.put_sized(&self.meta);
        out.put_sized(&self.hard_state);
        out.put_sized(checkpoint);
        out.put_count(self.cuts.len());
        for cut in &self.cuts {
            out.put_u64(cut.from);
            out.put_u64(cut.sequence);
        }
        out.put_count(self.term_starts.len());
        for (term, index, offset) in &self.term_starts {
            out.put_u32(*term);
            out.put_u64(*index);
            out.put_i64(*offset);
        }
        out.put_count(self.gaps.len());
        for gap in &self.gaps {
            out.put_u64(gap.first);
            out.put_i64(gap.first_offset);
            gap.encode_end(&mut out);
        }
        out.into()
    }

    pub(crate) fn decode(epoch: u32, body: Bytes) -> Option<Self> {
        let mut input = Input(body);
        let flags = input.bytes(8)?;
        let start = LogStart {
            index: input.u64()?,
            term: u32::try_from(input.u64()?).ok()?,
            next_offset: input.i64()?,
        };
        let (last_index, next_offset, checkpoint_index) = (input.u64()?, input.i64()?, input.u64()?);
        let (meta, hard_state, checkpoint) = (input.sized()?, input.sized()?, input.sized()?);
        let count = input.count(16)?;
        let cuts = (0..count)
            .map(|_| Some(Cut { from: input.u64()?, sequence: input.u64()? }))
            .collect::<Option<Vec<_>>>()?;
        let count = input.count(20)?;
        let term_starts = (0..count)
            .map(|_| Some((input.u32()?, input.u64()?, input.i64()?)))
            .collect::<Option<Vec<_>>>()?;
        // Snapshots from before there was compaction end here.
        let count = if input.0.is_empty() { 0 } else { input.count(GAP_LEN)? };
        let gaps = (0..count).map(|_| Gap::decode(input.u64()?, input.i64()?, &mut input));
        let gaps = gaps.collect::<Option<Vec<_>>>()?;
        let checkpoint = (flags[1] == 1).then_some((checkpoint_index, checkpoint));
        let suspect = flags[0] == 1;
        Some(Self {
            epoch,
            suspect,
            start,
            last_index,
            next_offset,
            meta,
            hard_state,
            checkpoint,
            cuts,
            term_starts,
            gaps,
        })
    }
}

/// Bytes of a gap in a snapshot.
const GAP_LEN: usize = 40;

impl Gap {
    /// Body of a gap frame; the rest is in its header.
    pub(crate) fn body(&self) -> Bytes {
        let mut out = Vec::with_capacity(GAP_LEN - 16);
        self.encode_end(&mut out);
        out.into()
    }

    fn encode_end(&self, out: &mut Vec<u8>) {
        out.put_u64(self.end);
        out.put_i64(self.next_offset);
        out.put_u64(u64::from(self.kind));
    }

    /// The gap that begins there.
    pub(crate) fn decode(first: u64, first_offset: i64, input: &mut Input) -> Option<Self> {
        let (end, next_offset) = (input.u64()?, input.i64()?);
        let kind = u8::try_from(input.u64()?).ok()?;
        (first < end).then_some(Self { first, end, first_offset, next_offset, kind })
    }

    /// Offset and offset span of the entry that stands at `index`: the first ones have all of the span, so that wherever a gap is cut
    /// what is left ends where it did.
    pub(crate) fn span(&self, index: u64) -> (i64, u32) {
        let whole = self.next_offset.saturating_sub(self.first_offset).max(0);
        let before = |index: u64| {
            let entries = i64::try_from(index.saturating_sub(self.first)).unwrap_or(i64::MAX);
            whole.min(entries.saturating_mul(i64::from(u32::MAX)))
        };
        let (from, to) = (before(index), before(index.saturating_add(1)));
        (self.first_offset.saturating_add(from), u32::try_from(to - from).unwrap_or(u32::MAX))
    }
}

/// Body of a reset.
pub(crate) fn encode_reset(checkpoint: &(u64, Bytes), meta: &[u8], hard_state: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(20 + checkpoint.1.len() + meta.len() + hard_state.len());
    out.put_u64(checkpoint.0);
    out.put_sized(meta);
    out.put_sized(hard_state);
    out.put_sized(&checkpoint.1);
    out.into()
}

/// Checkpoint, meta and hard state of a reset.
pub(crate) fn decode_reset(body: Bytes) -> Option<((u64, Bytes), Bytes, Bytes)> {
    let mut input = Input(body);
    let index = input.u64()?;
    let (meta, hard_state, checkpoint) = (input.sized()?, input.sized()?, input.sized()?);
    Some(((index, checkpoint), meta, hard_state))
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn control_survives(numbers: (u32, u64, u32, i64, u64, i64), meta: Vec<u8>, checkpoint: Option<(u64, Vec<u8>)>,
                            cuts: Vec<(u64, u64)>, terms: Vec<(u32, u64, i64)>,
                            gaps: Vec<(u32, i64, i64, u8)>) -> bool {
            let (epoch, index, term, offset, last_index, next_offset) = numbers;
            let control = Control {
                epoch,
                suspect: index % 2 == 1,
                start: LogStart { index, term, next_offset: offset },
                last_index,
                next_offset,
                meta: meta.into(),
                hard_state: Bytes::from_static(b"vote"),
                checkpoint: checkpoint.map(|(index, state)| (index, state.into())),
                cuts: cuts.into_iter().map(|(from, sequence)| Cut { from, sequence }).collect(),
                term_starts: terms,
                gaps: gaps.into_iter().map(|(first, first_offset, next_offset, kind)| Gap { first: u64::from(first), end: u64::from(first) + 1, first_offset, next_offset, kind }).collect(),
            };
            Control::decode(epoch, control.encode()) == Some(control)
        }

        fn manifest_survives(used: Vec<(u32, u32)>, ids: Vec<(u64, u32, u32, u64)>) -> bool {
            let segments = ids
                .into_iter()
                .map(|(id, end, footer, min_sequence)| Listed { id, end, footer, min_sequence, digest: [7; 16] })
                .collect();
            let manifest = Manifest { used, segments };
            Manifest::decode(manifest.encode()) == Some(manifest)
        }

        fn rubbish_does_not_panic(bytes: Vec<u8>) -> bool {
            let bytes = Bytes::from(bytes);
            let _ = (Manifest::decode(bytes.clone()), Control::decode(0, bytes.clone()), decode_reset(bytes));
            true
        }
    }
}
