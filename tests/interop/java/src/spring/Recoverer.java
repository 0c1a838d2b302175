package spring;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import leash.Leash;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.BatchListenerFailedException;
import org.springframework.kafka.listener.BatchMessageListener;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer.HeaderNames.HeadersToAdd;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.support.serializer.DelegatingByTypeSerializer;
import org.springframework.kafka.support.serializer.ErrorHandlingDeserializer;
import org.springframework.util.backoff.FixedBackOff;

/**
 * Spring's DeadLetterPublishingRecoverer, in the ways in which it is set up. Each way has a topic of its own,
 * {@code <stem>-<way>}, and a group of the same name; the dead letters go where Spring puts them.
 *
 * <pre>arguments: bootstrap, stem</pre>
 */
public final class Recoverer {
    private final String bootstrap;
    private final String stem;

    private Recoverer(String bootstrap, String stem) {
        this.bootstrap = bootstrap;
        this.stem = stem;
    }

    public static void main(String[] arguments) throws InterruptedException {
        Leash.hold();
        new Recoverer(arguments[0], arguments[1]).start();
        Leash.wear();
    }

    private void start() {
        var bytes = template(new ByteArraySerializer(), new ByteArraySerializer());
        MessageListener<byte[], byte[]> declines = order -> {
            throw new Declined();
        };

        // As it is set up by itself, but that the attempts are counted in a header.
        listen("listener", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(recoverer(bytes)));
        // A listener of the dead letters fails again.
        listen("twice", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(recoverer(bytes)));
        listen("twice-dlt", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(recoverer(bytes)));

        // Bytes that cannot be decoded, of the key, of the value, and of both.
        Map<Class<?>, Serializer<?>> byType = new LinkedHashMap<>();
        byType.put(byte[].class, new ByteArraySerializer());
        byType.put(Integer.class, new IntegerSerializer());
        var any = template(new DelegatingByTypeSerializer(byType), new DelegatingByTypeSerializer(byType));
        MessageListener<Integer, Integer> accepts = order -> {};
        listen("decode", integers(), integers(), accepts, errors(recoverer(any)));
        var retaining = recoverer(any);
        retaining.setRetainExceptionHeader(true);
        listen("retained", integers(), integers(), accepts, errors(retaining));

        // What is no UTF-8 does not survive these.
        var strings = template(new StringSerializer(), new StringSerializer());
        MessageListener<String, String> declinesText = order -> {
            throw new Declined();
        };
        listen("strings", new StringDeserializer(), new StringDeserializer(), declinesText, errors(recoverer(strings)));

        // A destination and headers of somebody's own choice.
        var parking = new DeadLetterPublishingRecoverer(
                bytes, (ConsumerRecord<?, ?> order, Exception error) -> new TopicPartition(stem + "-parked", -1));
        parking.excludeHeader(HeadersToAdd.EX_STACKTRACE, HeadersToAdd.GROUP, HeadersToAdd.TS_TYPE);
        listen("bare", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(parking));

        // Of a batch, the records that are named.
        BatchMessageListener<byte[], byte[]> declinesSome = this::declineSome;
        listen("batch", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declinesSome, errors(recoverer(bytes)));

        // Two hops, of which the headers of the first stay and those of the second are not appended.
        var keeping = recoverer(bytes);
        keeping.setAppendOriginalHeaders(false);
        keeping.setStripPreviousExceptionHeaders(false);
        listen("kept", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(recoverer(bytes)));
        listen("kept-dlt", new ByteArrayDeserializer(), new ByteArrayDeserializer(), declines, errors(keeping));
    }

    private void declineSome(List<ConsumerRecord<byte[], byte[]>> orders) {
        for (int at = 0; at < orders.size(); at++) {
            byte[] value = orders.get(at).value();
            // Every record but those that are said to be fine.
            if (value == null || !new String(value).startsWith("fine")) {
                throw new BatchListenerFailedException("order " + at + " of the batch", new Declined(), at);
            }
        }
    }

    private static Deserializer<Integer> integers() {
        return new ErrorHandlingDeserializer<>(new IntegerDeserializer());
    }

    private <K, V> KafkaTemplate<K, V> template(Serializer<K> key, Serializer<V> value) {
        Map<String, Object> config = new HashMap<>();
        config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(config, key, value));
    }

    private static DeadLetterPublishingRecoverer recoverer(KafkaTemplate<?, ?> template) {
        return new DeadLetterPublishingRecoverer(template);
    }

    /** Three attempts, without a pause. */
    private static DefaultErrorHandler errors(DeadLetterPublishingRecoverer recoverer) {
        return new DefaultErrorHandler(recoverer, new FixedBackOff(0, 2));
    }

    private <K, V> void listen(
            String way, Deserializer<K> key, Deserializer<V> value, Object listener, DefaultErrorHandler errors) {
        String topic = stem + "-" + way;
        Map<String, Object> config = new HashMap<>();
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        var properties = new ContainerProperties(topic);
        properties.setGroupId(topic);
        properties.setDeliveryAttemptHeader(true);
        properties.setMessageListener(listener);
        var consumers = new DefaultKafkaConsumerFactory<>(config, key, value);
        var container = new KafkaMessageListenerContainer<K, V>(consumers, properties);
        container.setBeanName(way);
        container.setCommonErrorHandler(errors);
        container.start();
    }
}
