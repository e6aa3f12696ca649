// SPDX-License-Identifier: Apache-2.0
// Runs the main classes of Apache Kafka's own tools, unmodified, in one JVM: starting one for each would cost more than what they do.
// One JSON request a line, one JSON answer a line (tools.py says what each means).
//
// A run has its own standard input and output. Kafka's tools end by way of Kafka's class Exit, which has a place for what exit shall do;
// here it notes the code and leaves the thread. Tools that call System.exit themselves cannot be run by this.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.utils.Exit;

public final class Tools {
    private static final ObjectMapper JSON = new ObjectMapper();
    // Threads that a tool starts belong to its run, too.
    private static final InheritableThreadLocal<Run> RUN = new InheritableThreadLocal<>();

    /** What leaves a tool's thread when it wants to exit. */
    private static final class Ended extends Error {
        private static final long serialVersionUID = 1L;

        Ended(int code) {
            super("exit " + code, null, false, false);
        }
    }

    private static final class Run {
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        final InputStream in;
        final List<Runnable> hooks = new ArrayList<>();
        Thread thread;
        Integer exit;

        Run(byte[] input) {
            in = new ByteArrayInputStream(input);
        }

        synchronized void wrote(ByteArrayOutputStream where, byte[] bytes, int from, int count) {
            where.write(bytes, from, count);
            notifyAll();
        }

        synchronized void ended(int code) {
            if (exit == null) {
                exit = code;
            }
            notifyAll();
        }

        synchronized String text(ByteArrayOutputStream where) {
            return where.toString(StandardCharsets.UTF_8);
        }
    }

    /** Where what is written goes depends on who writes. */
    private static final class Output extends OutputStream {
        final PrintStream otherwise;
        final boolean isError;

        Output(PrintStream otherwise, boolean isError) {
            this.otherwise = otherwise;
            this.isError = isError;
        }

        @Override
        public void write(int one) {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int from, int count) {
            Run run = RUN.get();
            if (run == null) {
                otherwise.write(bytes, from, count);
            } else {
                run.wrote(isError ? run.err : run.out, bytes, from, count);
            }
        }
    }

    private static final class Input extends InputStream {
        @Override
        public int read() throws java.io.IOException {
            Run run = RUN.get();
            return run == null ? -1 : run.in.read();
        }

        @Override
        public int read(byte[] bytes, int from, int count) throws java.io.IOException {
            Run run = RUN.get();
            return run == null ? -1 : run.in.read(bytes, from, count);
        }
    }

    private final Map<String, Run> runs = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = System.out;
        // Before any tool is loaded: some keep the streams that they found.
        System.setIn(new Input());
        System.setOut(new PrintStream(new Output(System.err, false), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Output(System.err, true), true, StandardCharsets.UTF_8));
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        Exit.setShutdownHookAdder((name, hook) -> {
            Run run = RUN.get();
            if (run != null) {
                synchronized (run) {
                    run.hooks.add(hook);
                }
            }
        });
        Tools tools = new Tools();
        String line;
        while ((line = requests.readLine()) != null) {
            ObjectNode answer;
            try {
                answer = tools.answer(JSON.readTree(line));
            } catch (Exception error) {
                answer = JSON.createObjectNode().put("code", -1).put("error", error.toString());
            }
            answers.write((JSON.writeValueAsString(answer) + "\n").getBytes(StandardCharsets.UTF_8));
            answers.flush();
        }
        // Tools that are still running are not waited for.
        Runtime.getRuntime().halt(0);
    }

    private static void exit(int code, String message) {
        Run run = RUN.get();
        if (run != null) {
            if (message != null) {
                System.err.println(message);
            }
            run.ended(code);
        }
        throw new Ended(code);
    }

    private ObjectNode answer(JsonNode request) throws Exception {
        String name = request.get("run").asText();
        switch (request.get("do").asText()) {
            case "start" -> {
                runs.put(name, start(request));
                return JSON.createObjectNode();
            }
            case "await" -> {
                return await(runs.get(name), request.path("text").asText(""), request.get("deadline_ms").asLong());
            }
            case "interrupt" -> {
                interrupt(runs.get(name));
                return JSON.createObjectNode();
            }
            case "forget" -> {
                runs.remove(name);
                return JSON.createObjectNode();
            }
            default -> throw new IllegalArgumentException("cannot do " + request.get("do"));
        }
    }

    private static Run start(JsonNode request) throws Exception {
        List<String> arguments = new ArrayList<>();
        request.get("arguments").forEach(each -> arguments.add(each.asText()));
        Run run = new Run(request.get("input").asText().getBytes(StandardCharsets.UTF_8));
        var main = Class.forName(request.get("main").asText()).getMethod("main", String[].class);
        run.thread = new Thread(
            () -> {
                RUN.set(run);
                int code = 0;
                try {
                    main.invoke(null, (Object) arguments.toArray(new String[0]));
                } catch (InvocationTargetException error) {
                    if (!(error.getCause() instanceof Ended)) {
                        // As a JVM of its own would end.
                        error.getCause().printStackTrace();
                        code = 1;
                    }
                } catch (IllegalAccessException error) {
                    error.printStackTrace();
                    code = 1;
                }
                run.ended(code);
            },
            "tool");
        run.thread.setDaemon(true);
        run.thread.start();
        return run;
    }

    /** Waits for the run's end, or for a text in its standard output. */
    private static ObjectNode await(Run run, String text, long deadlineMs) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(deadlineMs);
        ObjectNode answer = JSON.createObjectNode();
        synchronized (run) {
            while (run.exit == null && (text.isEmpty() || !run.text(run.out).contains(text))) {
                long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
                if (left <= 0) {
                    break;
                }
                run.wait(left);
            }
            answer.put("out", run.text(run.out));
            answer.put("err", run.text(run.err));
            answer.put("exit", run.exit);
        }
        return answer;
    }

    /** What an interrupt from the terminal starts: the hooks that run before a JVM ends. */
    private static void interrupt(Run run) {
        List<Runnable> hooks;
        synchronized (run) {
            hooks = List.copyOf(run.hooks);
        }
        RUN.set(run);
        try {
            hooks.forEach(Runnable::run);
        } finally {
            RUN.remove();
        }
    }
}
