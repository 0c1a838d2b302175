import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Prints the partition that Kafka's own producer chooses for each key on stdin, which is one a line, as hex. */
public class Partitions {
    public static void main(String[] arguments) throws Exception {
        int partitions = Integer.parseInt(arguments[0]);
        var keys = new BufferedReader(new InputStreamReader(System.in));
        var chosen = new StringBuilder();
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            byte[] bytes = HexFormat.of().parseHex(key);
            chosen.append(BuiltInPartitioner.partitionForKey(bytes, partitions)).append('\n');
        }
        System.out.print(chosen);
    }
}
