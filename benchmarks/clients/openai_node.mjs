// `openai` for Node. Arguments: URL of the server, sound file.
import fs from "node:fs";
import OpenAI from "openai";

const [url, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const tell = (call, text) => console.log(JSON.stringify({ call, text }));
const transcribe = (options = {}) =>
  client.audio.transcriptions.create({ file: fs.createReadStream(path), model: "any", ...options });

tell("transcriptions.create", (await transcribe()).text);
const verbose = await transcribe({ response_format: "verbose_json" });
tell("verbose_json", verbose.segments.map((segment) => segment.text).join(""));
let text = "";
for await (const event of await transcribe({ stream: true })) if (event.delta) text += event.delta;
tell("stream: true", text);
await client.models.retrieve((await client.models.list()).data[0].id);
