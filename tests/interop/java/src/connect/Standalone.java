package connect;

import leash.Leash;
import org.apache.kafka.connect.cli.ConnectStandalone;

/**
 * Connect's own {@code connect-standalone}, on a leash.
 *
 * <pre>arguments: the worker's properties, then a file of properties a connector</pre>
 */
public final class Standalone {
    private Standalone() {}

    public static void main(String[] arguments) {
        Leash.hold();
        ConnectStandalone.main(arguments);
    }
}
