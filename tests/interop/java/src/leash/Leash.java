package leash;

import java.io.IOException;

/** Ends the program with its standard input: whoever started it has seen enough, or is gone, killed perhaps. */
public final class Leash {
    private Leash() {}

    public static void hold() {
        Thread leash = new Thread(
                () -> {
                    try {
                        while (System.in.read() >= 0) {}
                    } catch (IOException gone) {
                        // As good as its end.
                    }
                    Runtime.getRuntime().halt(0);
                },
                "leash");
        leash.setDaemon(true);
        leash.start();
    }

    /** Waits for that end. */
    public static void wear() throws InterruptedException {
        Thread.currentThread().join();
    }
}
