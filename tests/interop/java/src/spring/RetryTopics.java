package spring;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import leash.Leash;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafkaRetryTopic;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.retrytopic.RetryTopicConfiguration;
import org.springframework.kafka.retrytopic.RetryTopicConfigurationBuilder;
import org.springframework.kafka.retrytopic.TopicSuffixingStrategy;
import org.springframework.scheduling.TaskScheduler;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/**
 * Spring's retry topics: four attempts, so that a record passes {@code <orders>-retry-0} to {@code -2}, and ends in
 * {@code <orders>-dlt}. There its handler fails once for the records whose value begins with "again", which Spring then
 * writes there once more.
 *
 * <pre>arguments: bootstrap, the topic of the orders</pre>
 */
@Configuration(proxyBeanMethods = false)
@EnableKafkaRetryTopic
public class RetryTopics {
    private static String bootstrap;

    public static void main(String[] arguments) throws InterruptedException {
        Leash.hold();
        bootstrap = arguments[0];
        System.setProperty("orders", arguments[1]);
        new AnnotationConfigApplicationContext(RetryTopics.class);
        Leash.wear();
    }

    public static class Orders {
        private final Set<String> handled = ConcurrentHashMap.newKeySet();

        @KafkaListener(id = "billing", topics = "${orders}")
        public void charge(ConsumerRecord<byte[], byte[]> order) {
            throw new Declined();
        }

        public void dead(ConsumerRecord<byte[], byte[]> order) {
            String value = order.value() == null ? "" : new String(order.value(), StandardCharsets.ISO_8859_1);
            if (value.startsWith("again") && handled.add(value)) {
                throw new IllegalStateException("nobody is at the desk");
            }
        }
    }

    @Bean
    public Orders orders() {
        return new Orders();
    }

    @Bean
    public RetryTopicConfiguration retries(KafkaTemplate<byte[], byte[]> template) {
        return RetryTopicConfigurationBuilder.newInstance()
                .includeTopic(System.getProperty("orders"))
                .maxAttempts(4)
                .exponentialBackoff(20, 2, 1000)
                .setTopicSuffixingStrategy(TopicSuffixingStrategy.SUFFIX_WITH_INDEX_VALUE)
                .doNotAutoCreateRetryTopics()
                .dltHandlerMethod("orders", "dead")
                .create(template);
    }

    @Bean
    public KafkaTemplate<byte[], byte[]> template() {
        Map<String, Object> config = new HashMap<>();
        config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        var bytes = new ByteArraySerializer();
        return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(config, bytes, bytes));
    }

    @Bean
    public ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory() {
        Map<String, Object> config = new HashMap<>();
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        var bytes = new ByteArrayDeserializer();
        var factory = new ConcurrentKafkaListenerContainerFactory<byte[], byte[]>();
        factory.setConsumerFactory(new DefaultKafkaConsumerFactory<>(config, bytes, bytes));
        return factory;
    }

    @Bean
    public TaskScheduler scheduler() {
        return new ThreadPoolTaskScheduler();
    }
}
