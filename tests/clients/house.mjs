// What the client tests share: the program in a folder of its own, and the official client for it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import OpenAI from "openai";

// Nothing of the caller's settings, keys or proxies reaches the program.
function environment(home) {
    const kept = Object.entries(process.env).filter(
        ([name]) => !/^(HEARTH_|XDG_|OPENAI_)|proxy/i.test(name));
    return { ...Object.fromEntries(kept), HEARTH_HOME: home };
}

// `hearth serve --port 0`. stop() ends it; it must exit with 0.
export async function serve(...args) {
    const home = await mkdtemp(join(tmpdir(), "hearth-clients-"));
    const child = spawn(process.env.HEARTH_BINARY, ["serve", "--port", "0", ...args],
        { env: environment(home), stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    const [line] = await Promise.race([
        once(createInterface({ input: child.stdout }), "line"),
        exited.then(([code]) => { throw new Error(`the server ended with ${code}`); }),
    ]);
    const address = line.match(/^listening on (http:\/\/127\.0\.0\.1:\d+)$/)?.[1];
    if (!address) throw new Error(`unexpected first line: ${line}`);
    const stop = async () => {
        child.kill("SIGTERM");
        const [code] = await exited;
        await rm(home, { recursive: true, force: true });
        if (code !== 0) throw new Error(`the server ended with ${code}`);
    };
    const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "no-key", maxRetries: 0 });
    return { address, client, stop, metrics: () => metrics(address) };
}

export async function metrics(address) {
    const text = await (await fetch(`${address}/metrics`)).text();
    return Object.fromEntries([...text.matchAll(/^([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm)]
        .map(([, name, value]) => [name, Number(value)]));
}

// Polls until condition() holds; the limit only ends a hung test.
export async function until(condition, what) {
    for (const end = Date.now() + 60_000; Date.now() < end;) {
        if (await condition()) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`never happened: ${what}`);
}

export const ask = (content, more = {}) =>
    ({ model: "demo", temperature: 0, messages: [{ role: "user", content }], ...more });

// What the demo model cannot make sense of, at a temperature at which it finds no end: 16 answers of
// hundreds of tokens, so that the stream ends when somebody ends it.
export const long = {
    model: "demo", messages: [{ role: "user", content: "}{".repeat(60) }],
    temperature: 2, top_k: 0, top_p: 1, min_p: 0, seed: 1, n: 16,
};
