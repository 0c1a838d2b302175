package streams;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import leash.Leash;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.LogAndContinueExceptionHandler;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/**
 * A Kafka Streams application that fails in every place from which Streams writes dead letters: a processor
 * ({@code <stem>-process}), a deserializer ({@code <stem>-decode}), an aggregation behind a repartition
 * ({@code <stem>-group}), and a punctuator.
 *
 * <pre>arguments: bootstrap, stem (and application id), the topic of the dead letters, a directory for state</pre>
 */
public final class Failures {
    private Failures() {}

    /** What the application throws. */
    static final class Declined extends RuntimeException {
        Declined(String message) {
            super(message);
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        Leash.hold();
        String stem = arguments[1];
        var config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, stem);
        config.put(StreamsConfig.ERRORS_DEAD_LETTER_QUEUE_TOPIC_NAME_CONFIG, arguments[2]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG, LogAndContinueExceptionHandler.class);
        config.put(
                StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG, LogAndContinueProcessingExceptionHandler.class);

        var bytes = Serdes.ByteArray();
        var builder = new StreamsBuilder();
        builder.stream(stem + "-process", Consumed.with(bytes, bytes)).foreach((key, value) -> {
            // One message in two is none.
            boolean silent = value != null && new String(value, StandardCharsets.ISO_8859_1).startsWith("silent");
            throw new Declined(silent ? null : "card declined");
        });
        builder.stream(stem + "-decode", Consumed.with(Serdes.Integer(), Serdes.Integer())).foreach((key, value) -> {});
        builder.stream(stem + "-group", Consumed.with(bytes, Serdes.String()))
                .groupBy((key, value) -> value, Grouped.with(Serdes.String(), Serdes.String()))
                .aggregate(
                        () -> 0L,
                        (key, value, sum) -> {
                            throw new Declined("not counted");
                        },
                        Materialized.with(Serdes.String(), Serdes.Long()));
        var once = new AtomicBoolean();
        builder.stream(stem + "-clock", Consumed.with(bytes, bytes)).process(() -> new Punctual(once));

        new KafkaStreams(builder.build(), config).start();
        Leash.wear();
    }

    /** Fails by the clock, once. */
    private static final class Punctual implements Processor<byte[], byte[], Void, Void> {
        private final AtomicBoolean once;

        Punctual(AtomicBoolean once) {
            this.once = once;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            context.schedule(Duration.ofMillis(100), PunctuationType.WALL_CLOCK_TIME, now -> {
                if (once.compareAndSet(false, true)) {
                    throw new IllegalStateException("the clock is wrong");
                }
            });
        }

        @Override
        public void process(Record<byte[], byte[]> record) {}
    }
}
