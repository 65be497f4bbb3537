/** What a JVM turns faults into: null pointers, overflows of the stack, safepoints. */
public class Tried {
    int value;
    static volatile int kept;

    static native void crashInC();

    static int read(Tried what) {
        return what.value;
    }

    /** How many of so many reads through null are exceptions; more than enough for the compiler. */
    static int nulls(int times) {
        int caught = 0;
        for (int i = 0; i < times; i++) {
            try {
                kept += read(null);
            } catch (NullPointerException expected) {
                caught++;
            }
        }
        return caught;
    }

    static int dig(int depth) {
        return depth == 0 ? 0 : dig(depth - 1) + 1;
    }

    static int deep(int times) {
        int caught = 0;
        for (int i = 0; i < times; i++) {
            try {
                dig(1 << 30);
            } catch (StackOverflowError expected) {
                caught++;
            }
        }
        return caught;
    }

    /** Turns of a loop while another thread asks for collections, which stop this thread by a fault. */
    static int collect(int milliseconds) throws InterruptedException {
        Thread other = new Thread(() -> {
            for (int i = 0; i < 20; i++) {
                System.gc();
            }
        });
        other.start();
        int made = 0;
        while (other.isAlive()) {
            byte[][] garbage = new byte[64][];
            for (int i = 0; i < garbage.length; i++) {
                garbage[i] = new byte[1024];
            }
            made += garbage.length;
            for (int i = 0; i < 1_000_000; i++) {
                kept += i;
            }
        }
        other.join();
        return made > 0 ? 1 : 0;
    }

    static int spin(int seed) {
        while (seed != 0) {
            kept += seed;
        }
        return kept;
    }

    static int crash(int unused) {
        crashInC();
        return 0;
    }
}
