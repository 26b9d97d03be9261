// setup: a server to test against and a browser to test with.
//
// BPUHUB_URL   an address of a running server; else
// BPUHUB_BIN   the binary that is started on a free port with a fresh folder (default build/bpuhub);
//              the word "fake" takes the stand-in of fake.js
// CHROMIUM     the browser (default /usr/bin/chromium)
// SHOTS        a folder that gets screenshots

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const CSP_WORDS = /Content Security Policy|Content-Security-Policy|violates the following/i;

export async function server_start() {
    if (process.env.BPUHUB_URL)
        return { url: process.env.BPUHUB_URL.replace(/\/$/, ''), stop: async () => {} };
    if (process.env.BPUHUB_BIN === 'fake') return (await import('./fake.js')).fake_start();

    const binary =
        process.env.BPUHUB_BIN ?? new URL('../../build/bpuhub', import.meta.url).pathname;
    const data = await mkdtemp(join(tmpdir(), 'bpuhub-browser-'));
    const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', data], {
        stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '',
        gone = null;
    child.stderr.on('data', (d) => {
        log = (log + d).slice(-20000);
    });
    process.on('exit', () => child.kill('SIGKILL')); // whatever ends the tests ends the server
    let timer;
    const url = await new Promise((resolve, reject) => {
        timer = setTimeout(
            () => reject(new Error(`the server was not ready within 20 s\n${log}`)),
            20000,
        );
        let out = '';
        child.stdout.on('data', (d) => {
            out += d;
            const m = /listening on (http:\/\/\S+)/.exec(out);
            if (m) resolve(m[1]);
        });
        child.on('error', reject);
        child.on('exit', (code, signal) => {
            gone = `the server ended with ${code ?? signal}\n${log}`;
            reject(new Error(gone));
        });
    }).finally(() => clearTimeout(timer));
    return {
        url,
        binary,
        data,
        async stop() {
            if (gone) throw new Error(gone);
            const ended = new Promise((r) => child.once('exit', r));
            child.kill('SIGTERM');
            const hard = setTimeout(() => child.kill('SIGKILL'), 15000);
            const code = await ended;
            clearTimeout(hard);
            await rm(data, { recursive: true, force: true });
            if (code !== 0) throw new Error(gone);
        },
    };
}

export const browser_start = () =>
    chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
        ],
    });

/** A page that notes everything that it should not say; faults() tells. */
export async function page_open(browser, url, path = '', options = {}) {
    const context = await browser.newContext({
        viewport: { width: 1440, height: 900 },
        ...options,
    });
    const page = await context.newPage();
    const said = [];
    page.on('console', (m) => {
        if (m.type() === 'error' || m.type() === 'warning' || CSP_WORDS.test(m.text()))
            said.push(`${m.type()}: ${m.text()} (${m.location().url})`);
    });
    page.on('pageerror', (e) => said.push(`page error: ${e.stack ?? e}`));
    page.on('request', (r) => {
        if (!r.url().startsWith(url) && !r.url().startsWith('blob:'))
            said.push(`request to elsewhere: ${r.url()}`);
    });
    await page.addInitScript(() => {
        addEventListener('securitypolicyviolation', (e) =>
            console.error(
                `policy violated: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`,
            ),
        );
    });
    page.on('filechooser', () => {}); // from now on; a listener that comes with the click may come too late
    page.setDefaultTimeout(10000);
    await page.goto(url + path);
    return { page, said, close: () => context.close() };
}

export async function shot(page, name, options = {}) {
    if (process.env.SHOTS)
        await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), ...options });
}
