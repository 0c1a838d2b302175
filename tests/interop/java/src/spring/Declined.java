package spring;

import java.io.IOException;

/** What the application throws. */
final class Declined extends RuntimeException {
    Declined() {
        super("card declined", new IOException("no route to the bank"));
    }
}
