import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/** Host CLASSES LIBRARY...: opens libraries while threads execute the first one's sites. Says what came of it as tests/common reads it. */
public class Host {
    static final int CALL = 0, SITES = 1, BOUND = 2, DURING = 3, END = 4, TELL = 5;
    static final int THREADS = 3;

    static final AtomicLong wrong = new AtomicLong();
    static final AtomicLongArray calls = new AtomicLongArray(THREADS);
    static volatile boolean over;

    static Method open(URL classes, String path) throws Exception {
        ClassLoader loader = new URLClassLoader(new URL[] {classes}, null);
        Class<?> library = loader.loadClass("Library");
        library.getMethod("open", String.class).invoke(null, path);
        return library.getMethod("call", int.class);
    }

    static long ask(Method library, int what) {
        try {
            return (Long) library.invoke(null, what);
        } catch (ReflectiveOperationException problem) {
            throw new RuntimeException(problem);
        }
    }

    static void waitForCalls(long[] before) {
        for (int at = 0; at < THREADS; at++) {
            while (calls.get(at) == before[at]) {
                Thread.yield();
            }
        }
    }

    static long[] now() {
        long[] now = new long[THREADS];
        for (int at = 0; at < THREADS; at++) {
            now[at] = calls.get(at);
        }
        return now;
    }

    public static void main(String[] arguments) throws Exception {
        URL classes = Path.of(arguments[0]).toUri().toURL();
        List<Method> libraries = new ArrayList<>();
        libraries.add(open(classes, arguments[1]));
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < THREADS; number++) {
            final int at = number;
            Thread thread = new Thread(() -> {
                while (!over) {
                    wrong.addAndGet(ask(libraries.get(0), CALL) + ("abc".repeat(10).length() == 30 ? 0 : 1));
                    calls.incrementAndGet(at);
                }
            });
            thread.start();
            threads.add(thread);
        }
        waitForCalls(new long[THREADS]);
        List<Method> late = new ArrayList<>();
        for (int at = 2; at < arguments.length; at++) {
            long[] before = now();
            late.add(open(classes, arguments[at]));
            wrong.addAndGet(ask(late.get(at - 2), CALL));
            waitForCalls(before);
        }
        over = true;
        for (Thread thread : threads) {
            thread.join();
        }

        libraries.addAll(late);
        StringBuilder said = new StringBuilder();
        long fewest = Long.MAX_VALUE;
        for (long number : now()) {
            fewest = Math.min(fewest, number);
        }
        said.append("result\tcalls\t" + fewest + "\n");
        for (int at = 0; at < libraries.size(); at++) {
            Method library = libraries.get(at);
            said.append("result\tsites " + at + "\t" + ask(library, SITES) + "\n");
            said.append("result\tbound " + at + "\t" + ask(library, BOUND) + "\n");
            said.append("result\tduring " + at + "\t" + ask(library, DURING) + "\n");
            wrong.addAndGet(ask(library, END));
        }
        said.append("result\twrong\t" + wrong + "\n");
        System.out.print(said);
        System.out.flush();
        ask(libraries.get(0), TELL);
    }
}
