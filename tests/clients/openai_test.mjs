// The official OpenAI client against the running program.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { ask, long, serve, until } from "./house.mjs";

let house, client;
before(async () => {
    house = await serve();
    client = house.client;
});
after(() => house.stop());

// All chunks of a stream.
async function collect(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
}
const textOf = (chunks) => chunks.map((c) => c.choices[0]?.delta?.content ?? "").join("");

test("models are listed and found by name", async () => {
    const models = await collect(client.models.list());
    const ids = models.map((m) => m.id);
    for (const id of ["demo", "auto", "local", "cloud"]) assert.ok(ids.includes(id), id);
    assert.equal((await client.models.retrieve("demo")).id, "demo");
    await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});

test("a whole answer has the shape of the protocol", async () => {
    const answer = await client.chat.completions.create(ask("Hello!", { max_tokens: 40 }));
    assert.equal(answer.object, "chat.completion");
    assert.match(answer.id, /^chatcmpl-/);
    assert.equal(answer.model, "demo");
    assert.ok(Math.abs(answer.created - Date.now() / 1000) < 3600);
    const [choice] = answer.choices;
    assert.equal(choice.message.role, "assistant");
    assert.ok(choice.message.content.length > 0);
    assert.ok(["stop", "length"].includes(choice.finish_reason));
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.ok(prompt_tokens > 0 && completion_tokens > 0);
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("a stream is the whole answer in pieces, with its usage last", async () => {
    const whole = await client.chat.completions.create(ask("Hello!", { max_tokens: 40 }));
    const chunks = await collect(await client.chat.completions.create(
        ask("Hello!", { max_tokens: 40, stream: true, stream_options: { include_usage: true } })));
    assert.equal(textOf(chunks), whole.choices[0].message.content);
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
    for (const chunk of chunks) assert.equal(chunk.object, "chat.completion.chunk");
    const last = chunks.at(-1);
    assert.deepEqual(last.choices, []);
    assert.deepEqual(last.usage, whole.usage);
    for (const chunk of chunks.slice(0, -1)) assert.equal(chunk.usage, null);
    const ends = chunks.filter((c) => c.choices[0]?.finish_reason);
    assert.equal(ends.length, 1);
    assert.equal(ends[0].choices[0].finish_reason, whole.choices[0].finish_reason);
});

test("without include_usage no chunk carries usage", async () => {
    const chunks = await collect(await client.chat.completions.create(
        ask("Hello!", { max_tokens: 5, stream: true })));
    for (const chunk of chunks) assert.equal(chunk.usage ?? null, null);
    assert.ok(chunks.every((c) => c.choices.length === 1));
});

test("the client's own stream helper understands it", async () => {
    const runner = client.chat.completions.stream(ask("Hello!", { max_tokens: 20 }));
    const final = await runner.finalChatCompletion();
    assert.ok(final.choices[0].message.content.length > 0);
});

test("an abort stops generation", async () => {
    const stream = await client.chat.completions.create(
        { ...long, stream: true });
    for await (const chunk of stream) {
        if (chunk.choices[0].delta.content) break;  // leaving the loop aborts the request
    }
    await until(async () => {
        const m = await house.metrics();
        return m.hearth_sequences_running === 0 && m.hearth_open_requests === 0;
    }, "no sequence runs");
    const ended = Object.entries(await house.metrics())
        .filter(([name]) => name.startsWith("hearth_requests_total") && name.includes('outcome="cancelled"'));
    assert.deepEqual(ended.map(([, n]) => n), [1]);
    const before = (await house.metrics()).hearth_engine_output_tokens_total;
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal((await house.metrics()).hearth_engine_output_tokens_total, before);
});

test("an unknown model is a 404 with the protocol's error", async () => {
    await assert.rejects(client.chat.completions.create(ask("hi", { model: "no-such-model" })), (error) => {
        assert.ok(error instanceof OpenAI.NotFoundError);
        assert.equal(error.status, 404);
        assert.match(error.message, /no-such-model/);
        return true;
    });
});

test("a prompt that does not fit is a 400 with exact counts", async () => {
    for (const stream of [false, true]) {
        await assert.rejects(client.chat.completions.create(ask("word ".repeat(20_000), { stream })), (error) => {
            assert.ok(error instanceof OpenAI.BadRequestError);
            assert.equal(error.error.type, "exceed_context_size_error");
            assert.ok(Number.isInteger(error.error.n_prompt_tokens));
            assert.ok(error.error.n_prompt_tokens > error.error.n_ctx);
            return true;
        });
    }
});

test("bad parameters are a 400 that names them", async () => {
    for (const [more, param] of [[{ temperature: -1 }, "temperature"], [{ top_p: 1.5 }, "top_p"],
        [{ max_tokens: "many" }, "max_tokens"], [{ messages: "hello" }, "messages"],
        [{ n: 0 }, "n"], [{ stop: { a: 1 } }, "stop"]]) {
        await assert.rejects(client.chat.completions.create(ask("hi", more)), (error) => {
            assert.ok(error instanceof OpenAI.BadRequestError, JSON.stringify(more));
            assert.equal(error.type, "invalid_request_error");
            assert.ok(`${error.param} ${error.message}`.includes(param), error.message);
            return true;
        });
    }
});

test("stop strings end the answer and never show", async () => {
    const plain = await client.chat.completions.create(ask("Tell me a story.", { max_tokens: 60 }));
    const text = plain.choices[0].message.content;
    const stop = text.slice(9, 14);  // spans tokens
    const expected = text.slice(0, text.indexOf(stop));
    const whole = await client.chat.completions.create(ask("Tell me a story.", { max_tokens: 60, stop }));
    assert.equal(whole.choices[0].message.content, expected);
    assert.equal(whole.choices[0].finish_reason, "stop");
    const chunks = await collect(await client.chat.completions.create(
        ask("Tell me a story.", { max_tokens: 60, stop: ["\u0001", stop], stream: true })));
    assert.equal(textOf(chunks), expected);
});

test("the same seed gives the same answer, another seed another", async () => {
    const draw = async (seed) => (await client.chat.completions.create(
        { ...long, n: 1, max_tokens: 40, seed })).choices[0].message.content;
    const [one, two, other] = await Promise.all([draw(11), draw(11), draw(12)]);
    assert.equal(one, two);
    assert.notEqual(one, other);
});

test("max_tokens and max_completion_tokens bound the answer", async () => {
    for (const name of ["max_tokens", "max_completion_tokens"]) {
        const answer = await client.chat.completions.create(ask("Tell me a story.", { [name]: 3 }));
        assert.equal(answer.usage.completion_tokens, 3);
        assert.equal(answer.choices[0].finish_reason, "length");
    }
});

test("system and developer messages are the same to the model", async () => {
    const say = async (role) => (await client.chat.completions.create(ask("", {
        max_tokens: 20,
        messages: [{ role, content: "You are brief." }, { role: "user", content: "Hello!" }],
    })));
    const [system, developer] = [await say("system"), await say("developer")];
    assert.equal(system.choices[0].message.content, developer.choices[0].message.content);
    assert.equal(system.usage.prompt_tokens, developer.usage.prompt_tokens);
});

test("content in parts is the same as content in one piece", async () => {
    const [whole, parts] = [
        await client.chat.completions.create(ask("Hello!", { max_tokens: 10 })),
        await client.chat.completions.create(ask([{ type: "text", text: "Hel" }, { type: "text", text: "lo!" }],
            { max_tokens: 10 })),
    ];
    assert.equal(parts.usage.prompt_tokens, whole.usage.prompt_tokens);
    assert.equal(parts.choices[0].message.content, whole.choices[0].message.content);
});

test("a conversation goes on", async () => {
    const answer = await client.chat.completions.create(ask("", {
        max_tokens: 10,
        messages: [{ role: "user", content: "Hello!" }, { role: "assistant", content: "Hi." },
            { role: "user", content: "How are you?" }],
    }));
    assert.ok(answer.usage.prompt_tokens > 10);
});

test("unknown fields are ignored", async () => {
    const answer = await client.chat.completions.create(ask("hi", {
        max_tokens: 3, frobnicate: { a: [1, null] }, service_tier: "auto", store: false,
        metadata: { a: "b" }, parallel_tool_calls: true, user: "u",
    }));
    assert.equal(answer.usage.completion_tokens, 3);
});

test("eight clients at once get what one gets alone", async () => {
    const one = (i) => client.chat.completions.create(
        ask(`Tell me about the number ${i}.`, { max_tokens: 20, temperature: 0.8, seed: i }));
    const together = await Promise.all([...Array(8).keys()].map(one));
    for (const [i, answer] of together.entries()) {
        assert.equal((await one(i)).choices[0].message.content, answer.choices[0].message.content);
    }
});

test("the response headers say where the answer came from", async () => {
    const { response } = await client.chat.completions.create(ask("hi", { max_tokens: 2 })).withResponse();
    assert.equal(response.headers.get("x-hearth-route"), "local");
    assert.equal(response.headers.get("x-hearth-model"), "demo");
    assert.match(response.headers.get("x-hearth-request-id"), /^req-/);
});
