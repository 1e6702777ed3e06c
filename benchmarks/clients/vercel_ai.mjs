// Vercel's `ai` with `@ai-sdk/openai`. Arguments: URL of the server, sound file.
import fs from "node:fs";
import * as ai from "ai";
import { createOpenAI } from "@ai-sdk/openai";

const [url, path] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const transcribe = ai.transcribe ?? ai.experimental_transcribe;
for (const model of ["whisper-1", "gpt-4o-transcribe"]) {
  const answer = await transcribe({ model: openai.transcription(model), audio: fs.readFileSync(path), maxRetries: 0 });
  console.log(JSON.stringify({ call: `transcribe, ${model}`, text: answer.text }));
}
