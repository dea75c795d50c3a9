/** A library of the tests. Each copy needs a class of its own, and so a loader. */
public class Library {
    static native long ask(int what);

    public static void open(String path) {
        System.load(path);
    }

    public static long call(int what) {
        return ask(what);
    }
}
