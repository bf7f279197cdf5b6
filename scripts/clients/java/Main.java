import java.time.Duration;
import java.util.HashSet;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Kafka's own Java client; what a client program does is told in ../README.md. */
public final class Main {
    private static final String ABOUT = "\"client\": \"java\", \"version\": \"" + AppInfoParser.getVersion() + "\"";

    public static void main(String[] arguments) throws InterruptedException {
        Map<String, Object> config = Map.of("bootstrap.servers", arguments[1]);
        int[] numbers = IntStream.range(3, arguments.length).map(i -> Integer.parseInt(arguments[i])).toArray();
        if (arguments[0].equals("produce")) {
            produce(config, arguments[2], numbers[1], numbers[2], numbers[3]);
        } else {
            consume(config, arguments[2], numbers[0], numbers[1]);
        }
    }

    private static void produce(Map<String, Object> config, String topic, int producerNumber, int count, int rate)
            throws InterruptedException {
        AtomicInteger acknowledged = new AtomicInteger(), failed = new AtomicInteger();
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            long begin = System.nanoTime();
            for (int n = 0; n < count; n++) {
                long wait = begin + n * 1_000_000_000L / rate - System.nanoTime();
                Thread.sleep(Duration.ofNanos(Math.max(0, wait)).toMillis());
                int number = n;
                String key = "" + n % 24, value = producerNumber + ":" + key + ":" + n + ":" + "x".repeat(100);
                producer.send(new ProducerRecord<>(topic, key, value), (metadata, error) -> {
                    (error == null ? acknowledged : failed).incrementAndGet();
                    System.out.println(error == null
                            ? "ack " + number + " " + metadata.partition() + " " + metadata.offset()
                            : "failed " + number + " " + error);
                });
            }
        }
        System.out.printf("{%s, \"sent\": %d, \"acknowledged\": %d, \"failed\": %d}%n", ABOUT, count, acknowledged.get(), failed.get());
    }

    private static void consume(Map<String, Object> config, String topic, int partitions, int count) {
        var seen = new HashSet<String>();
        int consumed = 0;
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(IntStream.range(0, partitions).mapToObj(p -> new TopicPartition(topic, p)).toList());
            consumer.seekToBeginning(consumer.assignment());
            while (seen.size() < count) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.printf("record %d %d %s %s%n", record.partition(), record.offset(), record.key(), record.value());
                    seen.add(record.value());
                    consumed++;
                }
            }
        }
        System.out.printf("{%s, \"consumed\": %d}%n", ABOUT, consumed);
    }
}
