//! Prints `docs/kafka-api.md`: `cargo run --release -p node --example kafka_api > docs/kafka-api.md`.

fn main() {
    print!("{}", node::kafka::serve::guide());
}
