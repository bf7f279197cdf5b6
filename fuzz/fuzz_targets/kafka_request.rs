//! Requests of Kafka clients: the first two bytes choose API and version among those that are served, the rest is the body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use node::kafka::limits::Limits;
use node::kafka::serve::{Api, decode_request};

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    decode_request(Bytes::copy_from_slice(input), &limits);
    if let [api, version, body @ ..] = input {
        let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
        let (first, last) = api.versions();
        let version = first + i16::from(*version) % (last - first + 1);
        let mut frame = Vec::new();
        frame.extend(api.key().to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend([0, 0, 0, 7, 0, 2, b'i', b'd']);
        frame.extend(body);
        decode_request(Bytes::from(frame), &limits);
    }
});
