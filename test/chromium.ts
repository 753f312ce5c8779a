/** Debian's Chromium for tests: programs on a page of loopback, and reports that open from disk. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const executablePath = process.env.KRAIT_CHROMIUM || '/usr/bin/chromium';

/** Why tests that need a browser are skipped; false where there is one. */
export const withoutChromium: string | false = existsSync(executablePath)
  ? false
  : `no Chromium at ${executablePath}; name one in KRAIT_CHROMIUM`;

export function launchChromium(): Promise<Browser> {
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'];
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', ...quiet];
  return chromium.launch({ executablePath, args });
}

const fileOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Serves a page as /index.html, its program as if it were the package's, and the WASM binaries. */
export async function serveProgram(entry: string, { isolated }: { isolated: boolean }): Promise<Server> {
  const { outputFiles } = await build({
    entryPoints: [fileOf(entry)],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  const page = '<!doctype html><script type="module" src="/dist/backend/wasm/page.js"></script>';
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    if (isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    const answer = (type: string, body: string | Uint8Array) => response.setHeader('Content-Type', type).end(body);
    const [, binary] = /^\/(?:dist\/wasm|assets)\/(krait[a-z-]*\.wasm)$/.exec(path) ?? [];
    if (path === '/index.html') answer('text/html', page);
    else if (path === '/dist/backend/wasm/page.js') answer('text/javascript', outputFiles[0].contents);
    else if (binary) answer('application/wasm', readFileSync(fileOf(`build/wasm/${binary}`)));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** The page of a server, its program loaded: that has put a function `report` into the global scope. */
export async function openProgram(browser: Browser, server: Server): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/index.html`);
  await page.waitForFunction('typeof report === "function"');
  return page;
}

/** Calls the program's `report`. */
export const callReport = <T>(page: Page, given: object): Promise<T> =>
  page.evaluate((o) => (globalThis as unknown as { report(o: object): Promise<T> }).report(o), given);

export interface View {
  readonly width: number;
  readonly colorScheme: 'light' | 'dark';
}

/** What an expression finds in a file's page, and what the page said on the console or asked for elsewhere. */
export async function lookAt<T>(browser: Browser, file: string, { width, colorScheme }: View, expression: string) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme });
  const page = await context.newPage();
  const said: string[] = [];
  const url = pathToFileURL(file).href;
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(error.message));
  page.on('request', (request) => {
    if (request.url() !== url && !request.url().startsWith('data:')) said.push(request.url());
  });
  await page.goto(url);
  const seen = await page.evaluate<T>(expression);
  await context.close();
  return { seen, said };
}
