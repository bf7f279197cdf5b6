//! What two peers say before any frame: who they are, which cluster they belong to, and that they hold its
//! secret.
//!
//! Noise has proved the peer ids before this starts. The dialer opens the control stream and speaks first:
//!
//! ```text
//! dialer                          listener
//!   Hello (proof) ------------------>  checks proof, version, cluster
//!         <--------------------------  Hello (proof), or Refuse (reason)
//!   Ready, or Refuse (reason) ------>
//!   opens rpc and replication streams, each with a header
//!         <--------------------------  one byte per stream: taken
//! ```
//!
//! The proof is a keyed BLAKE3 over a direction label, both peer ids and the sender's session: it is of no
//! use to anyone but its sender, who is bound to it by noise.
//!
//! Hello, big-endian: magic `rafka-m1` (8), lowest and highest protocol version (2 + 2), feature level (4),
//! session (8), attempt (8), replication lanes (1), cluster known (1) and its id (32), advertised address (4
//! + n), proof (32).

use super::StreamClass;
use crate::fields::{Reader, Writer};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;
use std::io;
use thiserror::Error;

/// Versions of the mesh protocol that this program speaks, inclusive.
pub const PROTOCOL_VERSIONS: (u16, u16) = (1, 1);
/// What this program can do, beyond the version of the protocol; a cluster uses the lowest level of its
/// members.
pub const FEATURE_LEVEL: u32 = 1;
/// The longest advertised address.
pub(super) const ADDRESS_BYTES_MAX: usize = 300;

const MAGIC: &[u8; 8] = b"rafka-m1";
const MESSAGE_BYTES_MAX: usize = 2 << 10;
const REASON_BYTES_MAX: usize = 1 << 10;
const TAG_HELLO: u8 = 1;
const TAG_READY: u8 = 2;
const TAG_REFUSE: u8 = 3;
/// What the listener answers to the header of a further stream.
const TAKEN: u8 = 0xa1;

/// Which side of the connection said it. Part of the proof, so that one side's cannot be echoed by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialer,
    Listener,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Dialer => Side::Listener,
            Side::Listener => Side::Dialer,
        }
    }
}

/// What this node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) feature_level: u32,
    /// Drawn at each start of a transport: tells a restarted peer from a second one.
    pub(super) session: u64,
    /// Counts the connections that the dialer began, so that both ends name the same one as the newer.
    pub(super) attempt: u64,
    pub(super) lanes: u8,
    pub(super) cluster: Option<[u8; 32]>,
    pub(super) advertised: String,
}

/// Why a handshake ended without a connection.
#[derive(Debug, Error)]
pub(super) enum HandshakeError {
    /// Our own refusal of the other side; it was told so.
    #[error("{0}")]
    Refused(String),
    /// The other side refused us.
    #[error("the peer refused this node: {0}")]
    RefusedByPeer(String),
    /// The stream broke or spoke something else.
    #[error("handshake: {0}")]
    Io(#[from] io::Error),
}

/// Ids and secret of one handshake.
pub(super) struct Identity<'a> {
    pub(super) secret: &'a [u8; 32],
    pub(super) own: PeerId,
    pub(super) peer: PeerId,
    pub(super) side: Side,
}

impl Identity<'_> {
    fn proof(&self, by: Side, session: u64) -> [u8; 32] {
        let (label, sender, receiver) = match (by, by == self.side) {
            (Side::Dialer, true) => (b'd', self.own, self.peer),
            (Side::Dialer, false) => (b'd', self.peer, self.own),
            (Side::Listener, true) => (b'l', self.own, self.peer),
            (Side::Listener, false) => (b'l', self.peer, self.own),
        };
        let mut hasher = blake3::Hasher::new_keyed(self.secret);
        hasher.update(b"rafka mesh handshake ").update(&[label]);
        for id in [sender.to_bytes(), receiver.to_bytes()] {
            hasher.update(&(id.len() as u64).to_be_bytes()).update(&id);
        }
        *hasher.update(&session.to_be_bytes()).finalize().as_bytes()
    }

    fn encode(&self, hello: &Hello) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(TAG_HELLO).raw(MAGIC).u16(hello.versions.0).u16(hello.versions.1).u32(hello.feature_level);
        out.u64(hello.session).u64(hello.attempt).u8(hello.lanes);
        out.u8(u8::from(hello.cluster.is_some())).raw(&hello.cluster.unwrap_or_default());
        out.text(&hello.advertised).raw(&self.proof(self.side, hello.session));
        out.done()
    }

    /// The peer's Hello and whether its proof is right.
    fn decode(&self, bytes: &[u8]) -> Option<(Hello, bool)> {
        let mut fields = Reader::new(bytes);
        let magic = (fields.u8()?, fields.array::<8>()?);
        if magic != (TAG_HELLO, *MAGIC) {
            return None;
        }
        let versions = (fields.u16()?, fields.u16()?);
        let (feature_level, session, attempt, lanes) =
            (fields.u32()?, fields.u64()?, fields.u64()?, fields.u8()?);
        let known = fields.u8()? == 1;
        let cluster = fields.array::<32>()?;
        let advertised = fields.text(ADDRESS_BYTES_MAX)?;
        let proof = blake3::Hash::from_bytes(fields.array::<32>()?);
        // `blake3::Hash` compares in constant time.
        let right = proof == blake3::Hash::from_bytes(self.proof(self.side.other(), session));
        let cluster = known.then_some(cluster);
        Some((Hello { versions, feature_level, session, attempt, lanes, cluster, advertised }, right))
    }

    fn judge(&self, own: &Hello, peer: &Hello, right: bool) -> Result<(), String> {
        if !right {
            return Err(format!(
                "the node at {} and the node at {} hold different cluster secrets: give both the same file \
                 with --token-file (copy it from a node of the cluster that you want)",
                own.advertised, peer.advertised
            ));
        }
        if peer.versions.0 > own.versions.1 || peer.versions.1 < own.versions.0 {
            return Err(format!(
                "the node at {} speaks mesh protocol {} to {}, the node at {} speaks {} to {}: upgrade the older one",
                own.advertised,
                own.versions.0,
                own.versions.1,
                peer.advertised,
                peer.versions.0,
                peer.versions.1
            ));
        }
        match (own.cluster, peer.cluster) {
            (Some(ours), Some(theirs)) if ours != theirs => Err(format!(
                "the node at {} belongs to cluster {}, the node at {} to cluster {}; two clusters never \
                 merge: correct --seeds or --join, or give the node that should move an empty --data-dir",
                own.advertised,
                short(&ours),
                peer.advertised,
                short(&theirs)
            )),
            _ => Ok(()),
        }
    }
}

/// The first bytes of a cluster id in hexadecimal, for messages.
pub(super) fn short(id: &[u8; 32]) -> String {
    id.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Runs the handshake on the control stream and returns the peer's Hello once both sides are content.
pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: &Identity<'_>,
    own: &Hello,
) -> Result<Hello, HandshakeError> {
    if identity.side == Side::Dialer {
        write(stream, &identity.encode(own)).await?;
    }
    let message = read(stream).await?;
    if let Some(reason) = refusal(&message) {
        return Err(HandshakeError::RefusedByPeer(reason));
    }
    let Some((peer, right)) = identity.decode(&message) else {
        return refuse(stream, "this port speaks the rafka mesh protocol, and what came is not it".into())
            .await;
    };
    if let Err(reason) = identity.judge(own, &peer, right) {
        return refuse(stream, reason).await;
    }
    if identity.side == Side::Dialer {
        write(stream, &[TAG_READY]).await?;
        return Ok(peer);
    }
    write(stream, &identity.encode(own)).await?;
    let answer = read(stream).await?;
    match refusal(&answer) {
        Some(reason) => Err(HandshakeError::RefusedByPeer(reason)),
        None if answer == [TAG_READY] => Ok(peer),
        None => Err(HandshakeError::Io(io::ErrorKind::InvalidData.into())),
    }
}

/// Tells the peer why. The caller should [`linger`].
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, reason: String) -> Result<Hello, HandshakeError> {
    let mut out = Writer::new();
    out.u8(TAG_REFUSE).text(&reason);
    let _ = write(stream, &out.done()).await;
    Err(HandshakeError::Refused(reason))
}

/// Waits until the peer hung up, so that the last words arrive before the connection ends.
pub(super) async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let _ = stream.read(&mut [0; 1]).await;
}

fn refusal(message: &[u8]) -> Option<String> {
    let mut fields = Reader::new(message);
    (fields.u8()? == TAG_REFUSE).then(|| fields.text(REASON_BYTES_MAX).unwrap_or_default())
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    let mut out = Writer::new();
    stream.write_all(&out.bytes(message).done()).await?;
    stream.flush().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Names a further stream to the listener and waits until it took it: a multiplexer may drop a stream that
/// nobody accepted, and then what was written to it would be lost in silence.
pub(super) async fn introduce<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    class: StreamClass,
    lane: u8,
) -> io::Result<()> {
    stream.write_all(&[class.byte(), lane]).await?;
    stream.flush().await?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await?;
    if answer == [TAKEN] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The listener's side of [`introduce`].
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> io::Result<(StreamClass, u8)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await?;
    let class = StreamClass::of(header[0]).ok_or(io::ErrorKind::InvalidData)?;
    stream.write_all(&[TAKEN]).await?;
    stream.flush().await?;
    Ok((class, header[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(cluster: Option<[u8; 32]>) -> Hello {
        Hello {
            versions: PROTOCOL_VERSIONS,
            feature_level: FEATURE_LEVEL,
            session: 7,
            attempt: 9,
            lanes: 2,
            cluster,
            advertised: "host:1".into(),
        }
    }

    fn ends(secrets: [&'static [u8; 32]; 2]) -> (Identity<'static>, Identity<'static>) {
        let (a, b) = (PeerId::random(), PeerId::random());
        (
            Identity { secret: secrets[0], own: a, peer: b, side: Side::Dialer },
            Identity { secret: secrets[1], own: b, peer: a, side: Side::Listener },
        )
    }

    #[test]
    fn a_proof_holds_for_its_direction_and_secret_only() {
        let (dialer, listener) = ends([&[1; 32], &[1; 32]]);
        let message = dialer.encode(&hello(Some([3; 32])));
        assert_eq!(listener.decode(&message), Some((hello(Some([3; 32])), true)));
        let echoed = dialer.decode(&message).unwrap();
        assert!(!echoed.1, "a side's own proof must not be accepted from the other");
        let (dialer, listener) = ends([&[1; 32], &[2; 32]]);
        let (peer, right) = listener.decode(&dialer.encode(&hello(None))).unwrap();
        assert!(!right);
        assert!(listener.judge(&hello(None), &peer, right).unwrap_err().contains("--token-file"));
    }

    #[test]
    fn other_clusters_and_versions_are_refused_by_name() {
        let (dialer, _) = ends([&[1; 32], &[1; 32]]);
        let reason = dialer.judge(&hello(Some([1; 32])), &hello(Some([2; 32])), true).unwrap_err();
        assert!(reason.contains("010101010101") && reason.contains("020202020202"), "{reason}");
        assert!(dialer.judge(&hello(None), &hello(Some([2; 32])), true).is_ok());
        let newer = Hello { versions: (8, 9), ..hello(None) };
        assert!(dialer.judge(&hello(None), &newer, true).unwrap_err().contains("8 to 9"));
    }

    #[test]
    fn hostile_bytes_are_no_hello() {
        let (dialer, listener) = ends([&[1; 32], &[1; 32]]);
        let message = dialer.encode(&hello(None));
        for length in 0..message.len() {
            assert_eq!(listener.decode(&message[..length]), None);
        }
    }
}
