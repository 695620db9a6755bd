// Asks another engine what it says about the generated files: see ORIGIN.md.
//   node peer.mjs <folder of the files> <folder of tests/golden>
import fs from "node:fs";
import {getLlama} from "node-llama-cpp";

const [folder, golden] = process.argv.slice(2);
const lengths = [1, 17, 256, 300];
const ids = fs.readFileSync(`${folder}/ids.txt`, "utf8").trim().split(/\s+/).map(Number);
const options = {temperature: 1, topK: 0, topP: 1, minP: 0};
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: 1});

const lines = {};
for (const file of fs.readdirSync(folder).filter((f) => f.endsWith(".gguf")).sort()) {
    const [family, format] = file.slice(0, -5).split("-");
    const model = await llama.loadModel({modelPath: `${folder}/${file}`, gpuLayers: 0});
    const context = await model.createContext({contextSize: 512, batchSize: 512, flashAttention: false, threads: 1});
    const out = await context.getSequence().controlledEvaluate(ids.map((id, i) =>
        lengths.includes(i + 1) ? [id, {generateNext: {probabilities: true, options}}] : id));
    for (const n of lengths) {
        const of = [...out[n - 1].next.probabilities].sort((a, b) => b[1] - a[1]);
        const next = of.find(([id]) => id === ids[n % ids.length]);
        const told = of.slice(0, 5).concat(next && next[1] > 1e-6 ? [next] : []);
        (lines[family] ??= []).push(`${format} ${n} ` + told.map(([id, p]) => `${id} ${Math.log(p).toFixed(6)}`).join(" "));
    }
    await context.dispose();
    await model.dispose();
}
for (const family in lines) fs.writeFileSync(`${golden}/${family}/peer.txt`, lines[family].join("\n") + "\n");
process.exit(0);
