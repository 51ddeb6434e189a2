/** Shards, loaded when they are needed: classic scripts that call `pretiltShard(name, value)`. */

import type { Curation } from './contract';

const MOST_KEPT = 80; // shards of pairs and scores; the others stay
const asked = new Map<string, Promise<unknown>>();
const arrive = new Map<string, (value: unknown) => void>();
const recent: string[] = [];

export const hasServer = document.body.dataset.server === 'true';

(globalThis as Record<string, unknown>).pretiltShard = (name: string, value: unknown) => {
  arrive.get(name)?.(value);
  arrive.delete(name);
};

export function load<T>(name: string): Promise<T> {
  let promise = asked.get(name) as Promise<T> | undefined;
  if (!promise) {
    promise = new Promise<T>((resolve, reject) => {
      arrive.set(name, resolve as (value: unknown) => void);
      const script = document.createElement('script');
      script.src = `data/${name}.js`;
      script.onload = () => {
        script.remove();
        if (arrive.delete(name)) reject(new Error(`data/${name}.js holds something else: write the page again`));
      };
      script.onerror = () => {
        script.remove();
        arrive.delete(name);
        asked.delete(name);
        reject(new Error(hasServer
          ? `data/${name}.js cannot be read: does \`pretilt view\` still run?`
          : `data/${name}.js is missing: copy the whole folder, or run \`pretilt export-site\` again`));
      };
      document.head.append(script);
    });
    asked.set(name, promise);
    if (/^(pairs|answers|fired|u)-/.test(name)) {
      recent.push(name);
      if (recent.length > MOST_KEPT) asked.delete(recent.shift() as string);
    }
  }
  return promise;
}

/** Lets go of a shard whose content is kept elsewhere. */
export const forget = (name: string) => asked.delete(name);

const padded = (n: number, digits: number) => String(n).padStart(digits, '0');
export const rowsName = (view: string, i: number) => `rows-${view}-${padded(i, 3)}`;
export const wordsName = (view: string, i: number) => `words-${view}-${padded(i, 3)}`;
export const numbered = (kind: string, i: number) => `${kind}-${padded(i, 4)}`;
export const answersName = (i: number) => `answers-${padded(i, 3)}`;

/** A call that needs Python. Throws the server's one line. */
export async function call<T>(path: string, body?: unknown): Promise<T> {
  const init = body === undefined ? {} : {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
  };
  let response: Response;
  try {
    response = await fetch(`api/${path}`, init);
  } catch {
    throw new Error('the server does not answer: does `pretilt view` still run?');
  }
  const value = await response.json();
  if (!response.ok) throw new Error(value.error ?? `the server answers ${response.status}`);
  return value as T;
}

export const saveCuration = (value: Curation) => call<Curation>('curation', value);
