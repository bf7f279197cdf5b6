//! What seeds tell each other before there is a cluster, and the founding record on disk. What is read is written the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::founding::{JoinAnswer, JoinRequest, Message, Recorded};

fuzz_target!(|input: &[u8]| {
    if let Some(message) = Message::decode(input) {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
    if let Some(request) = JoinRequest::decode(input) {
        assert_eq!(JoinRequest::decode(&request.encode()), Some(request));
    }
    if let Some(answer) = JoinAnswer::decode(input) {
        assert_eq!(JoinAnswer::decode(&answer.encode()), Some(answer));
    }
    if let Ok(recorded) = Recorded::decode(input) {
        assert_eq!(Recorded::decode(&recorded.encode()).ok(), Some(recorded));
    }
});
