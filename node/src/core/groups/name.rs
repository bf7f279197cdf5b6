//! Where a group lives: the topic, and the partition of it that a name belongs to.

/// Kafka's name of the topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Whether clients may not write to a topic.
pub fn is_internal(topic: &str) -> bool {
    topic == OFFSETS_TOPIC
}

/// The partition, of `partitions`, of a group: the absolute value of Java's `String.hashCode`, which runs over UTF-16 units, modulo their
/// number. Clients never compute it, but tools that read `__consumer_offsets` do.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The smallest number has no absolute value; Kafka takes 0 for it.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_where_java_puts_them() {
        // "".hashCode() = 0, "a" = 97, "polygenelubricants" = Integer.MIN_VALUE, "group" = 98629247, "é" = 233.
        for (group, partition) in [("", 0), ("a", 47), ("polygenelubricants", 0), ("group", 47), ("é", 33)] {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
        // "hello world".hashCode() = 1794106052, "😀" is two units: 0xd83d * 31 + 0xde00.
        assert_eq!(partition_of("hello world", 1_000_000), 106_052);
        assert_eq!(partition_of("😀", i32::MAX), 0xd83d * 31 + 0xde00);
        assert_eq!(partition_of("any", 0), 0);
    }
}
