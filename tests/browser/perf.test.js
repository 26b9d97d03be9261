// perf: what a measurement shows in the dashboard, and its page opened from a file, without a server or a network.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { shot } from './setup.js';
import { browser, choose, no_overflow, page_new, server } from './steps.js';

const fake = process.env.BPUHUB_BIN === 'fake';
const fixture = () => readFile(new URL('../fixtures/lenet_float.onnx', import.meta.url));

/** A node of that name, as long as the one that it had, so that no length in the file changes. */
const HOSTILE = '</script><img src=x';
async function hostile() {
    const data = await fixture();
    const name = Buffer.from('/conv0/conv0.0/Conv');
    assert.equal(name.length, HOSTILE.length);
    let found = 0;
    for (let at = data.indexOf(name); at >= 0; at = data.indexOf(name, at + 1), found++) data.write(HOSTILE, at);
    assert.ok(found > 0);
    return data;
}

async function send(page, march = 'bayes') {
    await choose(page, { name: 'lenet_float.onnx', mimeType: 'application/octet-stream', buffer: await fixture() });
    await page.check('input[name=kind][value=perf]');
    assert.equal(await page.textContent('#submit'), 'Measure the model');
    await page.check(`input[name=march][value=${march}]`);
    await page.click('#submit');
    await page.waitForURL(/#\/jobs\//);
}

async function measured(data, name, more = '') {
    const kind = more === '&kind=pipeline' ? 'pipeline' : 'perf';
    const made = await fetch(`${server.url}/v1/${kind}?march=bayes&filename=${encodeURIComponent(name)}${kind === 'perf' ? more : ''}`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', prefer: 'wait=60' },
        body: data,
    });
    assert.ok(made.ok, `${made.status} ${made.ok ? '' : await made.text()}`);
    const job = await made.json();
    assert.equal(job.state, 'succeeded');
    return job;
}

const artifact = async (job, name) => {
    const r = await fetch(`${server.url}/v1/jobs/${job.id}/artifacts/${name}`);
    assert.equal(r.status, 200);
    return r;
};

/** The page from a file, in a browser that has no network; tells what it asked for and what went wrong. */
async function page_of(path, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, offline: true, ...options });
    const page = await context.newPage();
    const said = [];
    page.on('request', (r) => r.url().startsWith('file:') && r.url().endsWith('.html') ? 0 : said.push(`request: ${r.url()}`));
    // Chromium's advice on canvases is for the tests, which read them.
    page.on('console', (m) => /willReadFrequently/.test(m.text()) ? 0 : said.push(`${m.type()}: ${m.text()}`));
    page.on('pageerror', (e) => said.push(`error: ${e.message}`));
    page.on('dialog', (d) => (said.push(`dialog: ${d.message()}`), d.dismiss()));
    await page.goto(`file://${path}`);
    return { page, said, close: () => context.close() };
}

const on_screen = (page, selector) =>
    page.$eval(selector, (e) => {
        const b = e.getBoundingClientRect();
        return b.width > 0 && b.height > 0 && b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight;
    });

describe('perf in the dashboard', { skip: fake && 'the stand-in does not calculate' }, () => {
    test('the answer, what to change, and the way to the page', async () => {
        const page = await page_new({ viewport: { width: 1280, height: 800 } });
        await send(page);
        await page.waitForSelector('#figures', { timeout: 60000 });
        assert.match(await page.textContent('#figures h2'), /^[\d.]+ frames\/s for .*Bayes/i);
        assert.match(await page.textContent('[data-stat=latency] b'), /^\d+(\.\d+)? µs$/);
        assert.match(await page.textContent('[data-stat=utilization] b'), /^\d+\.\d %$/);
        assert.match(await page.textContent('[data-expected]'), /Expected error of the latency: \S/);
        assert.ok((await page.$$('#costliest li')).length >= 3);
        const wins = await page.$$eval('#perf-advice .wins:first-of-type b', (l) => l.map((b) => parseFloat(b.textContent.slice(1))));
        assert.ok(wins.length >= 1);
        assert.deepEqual(wins, [...wins].sort((a, b) => b - a));
        await shot(page, 'measured');
        await page.click('#tab-schedule');
        await page.waitForSelector('[data-picture="schedule.svg"] svg path.l0');
        await page.click('#tab-traffic');
        assert.match(await page.textContent('#panel-traffic'), /constants/);
        await page.waitForSelector('#canvas > svg [data-share]');
        const href = await page.getAttribute('[data-page-of="report.html"]', 'href');
        const file = await fetch(server.url + href);
        assert.equal(file.status, 200);
        assert.match(file.headers.get('content-type'), /^text\/html/);
        assert.match(file.headers.get('content-security-policy'), /script-src 'sha256-[^']+'; sandbox allow-scripts/);
        // Its script runs there too, without an origin.
        const said = [];
        const other = await page.context().newPage();
        other.on('console', (m) => said.push(m.text()));
        other.on('pageerror', (e) => said.push(e.message));
        await other.goto(server.url + href);
        await other.waitForSelector('#timeline-view canvas');
        assert.equal(await other.evaluate(() => origin), 'null');
        assert.deepEqual(said, []);
        await other.close();
    });

    test('limits that were given are judged, in the dashboard and on the page', async () => {
        const job = await measured(await fixture(), 'lenet_float.onnx', '&max_latency_us=1&min_fps=10');
        const page = await page_new({ path: `#/jobs/${job.id}` });
        await page.waitForSelector('[data-gates=failed]');
        assert.match(await page.textContent('.gate-failed'), /latency/);
        assert.match(await page.textContent('.gate-passed'), /frames/);
        const html = await (await artifact(job, 'report.html')).text();
        assert.match(html, /class="note failed"><b>Failed:<\/b> latency/);
        assert.match(html, /class="note passed"><b>Passed:<\/b> frames/);
    });

    test('a pipeline shows what a measurement shows', async () => {
        const job = await measured(await fixture(), 'lenet_float.onnx', '&kind=pipeline');
        const page = await page_new({ path: `#/jobs/${job.id}` });
        await page.waitForSelector('#perf-advice li');
        await page.waitForSelector('[data-page-of="report.html"]');
    });

    test('it fits on a phone', async () => {
        const page = await page_new({ viewport: { width: 390, height: 844 } });
        await send(page);
        await page.waitForSelector('#figures', { timeout: 60000 });
        await no_overflow(page, 'a measurement');
        for (const tab of ['schedule', 'memory', 'traffic']) {
            await page.click(`#tab-${tab}`);
            await no_overflow(page, tab);
        }
    });
});

describe('the page of a measurement', { skip: fake && 'the stand-in does not calculate' }, () => {
    let folder, path, report;
    before(async () => {
        folder = await mkdtemp(join(tmpdir(), 'bpuhub-page-'));
        path = join(folder, 'report.html');
        const job = await measured(await hostile(), '"><b>net</b>.onnx');
        report = await (await artifact(job, 'report.json')).json();
        await writeFile(path, Buffer.from(await (await artifact(job, 'report.html')).arrayBuffer()));
    });
    after(() => rm(folder, { recursive: true, force: true }));

    test('from a file, without a network, the first screen is the answer', async () => {
        const { page, said, close } = await page_of(path);
        for (const id of ['fps', 'latency', 'ddr', 'utilization', 'costliest', 'advice'])
            assert.ok(await on_screen(page, `#${id}`), `${id} is on the first screen`);
        assert.equal(parseFloat(await page.textContent('#fps b')).toFixed(0), report.summary.fps.toFixed(0));
        assert.match(await page.textContent('#latency'), /expected error/);
        assert.match(await page.textContent('#utilization'), /(DDR|compute)-bound, at \d+ % of the bound/);
        assert.equal((await page.$$('#costliest li')).length, Math.min(5, report.layers.filter((l) => l.time_us > 0).length));
        assert.equal(await page.$eval('#advice li', (e) => e.dataset.code), report.advice[0].code);
        await shot(page, 'perf-page');
        assert.deepEqual(said, []);
        await close();
    });

    test('names cannot become markup', async () => {
        const { page, said, close } = await page_of(path);
        assert.equal((await page.$$('img, b b')).length, 0);
        assert.ok((await page.textContent('#layers')).includes(HOSTILE));
        assert.equal(await page.$$eval('script', (l) => l.length), 2);
        assert.deepEqual(said, []);
        await close();
    });

    test('the timeline can be looked into with keys, and colours by what binds', async () => {
        const { page, said, close } = await page_of(path);
        assert.ok(await page.$eval('#timeline-still', (e) => e.hidden));
        const range = () => page.textContent('#timeline-tools .hint');
        const colours = () =>
            page.$eval('#timeline-view canvas', (c) => {
                const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
                const seen = new Set();
                for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
                return [...seen];
            });
        const all = await range();
        assert.ok((await colours()).length > 3);
        await page.focus('#timeline-view canvas');
        await page.keyboard.press('+');
        await page.waitForFunction((was) => document.querySelector('#timeline-tools .hint').textContent !== was, all);
        await page.keyboard.press('ArrowRight');
        await page.keyboard.press('.');
        assert.match(await page.textContent('#timeline-said'), / us to .* us \(.* us\)\nbound by \w+/);
        await page.keyboard.press('Home');
        await page.waitForFunction((was) => document.querySelector('#timeline-tools .hint').textContent === was, all);
        const before_change = await colours();
        await page.selectOption('#timeline-tools select', 'bound');
        await page.waitForTimeout(100);
        assert.notDeepEqual(await colours(), before_change);
        const label = await page.getAttribute('#timeline-view canvas', 'aria-label');
        assert.match(label, /load works \d+ %/);
        await page.hover('#timeline-view canvas', { position: { x: 200, y: 14 } });
        assert.match(await page.textContent('#timeline-tip'), /load: load/);
        assert.deepEqual(said, []);
        await close();
    });

    test('tables can be sorted', async () => {
        const { page, said, close } = await page_of(path);
        const times = () => page.$$eval('#layers tbody tr', (rows) => rows.map((r) => parseFloat(r.cells[2].textContent)));
        const first = await times();
        assert.deepEqual(first, [...first].sort((a, b) => b - a));
        await page.click('#layers thead th:nth-child(3) button');
        await page.click('#layers thead th:nth-child(3) button');
        assert.equal(await page.getAttribute('#layers thead th:nth-child(3)', 'aria-sort'), 'ascending');
        assert.deepEqual(await times(), [...first].sort((a, b) => a - b));
        assert.deepEqual(said, []);
        await close();
    });

    test('without script everything can be read', async () => {
        const { page, said, close } = await page_of(path, { javaScriptEnabled: false });
        for (const part of ['#timeline-still svg.bpu-schedule', '#roofline svg', '#over-time svg', '#memory svg.bpu-plan', '#graph svg', '#layers tbody tr'])
            assert.ok(await page.isVisible(part), part);
        assert.deepEqual(said, []);
        await close();
    });

    test('dark, on a phone, and every picture has words', async () => {
        const { page, said, close } = await page_of(path, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
        await no_overflow(page, 'the page');
        const dark = await page.$eval('body', (e) => getComputedStyle(e).backgroundColor);
        assert.equal(dark, 'rgb(15, 20, 26)');
        const labels = await page.$$eval('svg[role=img]', (l) => l.map((s) => s.getAttribute('aria-label') ?? ''));
        assert.ok(labels.length >= 4 && labels.every((l) => l.length > 10), labels.join(' | '));
        assert.deepEqual(said, []);
        await close();
    });
});
