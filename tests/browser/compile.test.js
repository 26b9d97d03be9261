// compile: from a network to a program, with the pictures of its schedule and its memory.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { shot } from './setup.js';
import { choose, no_overflow, page_new, server } from './steps.js';

const fake = process.env.BPUHUB_BIN === 'fake';

const lenet = () => ({
    name: 'lenet_float.onnx',
    mimeType: 'application/octet-stream',
    buffer: readFileSync(new URL('../fixtures/lenet_float.onnx', import.meta.url)),
});

async function send(page, level, march = 'bayes') {
    await choose(page, lenet());
    await page.check('input[name=kind][value=compile]');
    assert.equal(await page.textContent('#submit'), 'Compile the model');
    await page.check(`input[name=march][value=${march}]`);
    if (level) await page.selectOption('select[data-option=opt]', level);
    await page.click('#submit');
    await page.waitForURL(/#\/jobs\//);
}

const stat = (page, name) => page.textContent(`[data-stat=${name}] b`);

describe('compile', { skip: fake && 'the stand-in does not calculate' }, () => {
    test('a network becomes a program with its figures and pictures', async () => {
        const page = await page_new();
        await send(page, '3');
        await page.waitForSelector('#figures', { timeout: 60000 });
        const figures = await page.textContent('#figures');
        assert.match(figures, /Compiled for .*Bayes/i);
        assert.match(figures, /O3, 1 core/);
        assert.match(figures, /Placeholder scales/);
        assert.match(await stat(page, 'predicted'), /^\d+(\.\d+)? µs$/);
        assert.match(await stat(page, 'sram'), /^\d+ %$/);
        assert.ok(parseInt(await stat(page, 'instructions'), 10) > 0);
        // The layers, the longest first.
        const shares = await page.$$eval('#panel-layers td[data-label=Share]', (cells) =>
            cells.map((c) => parseFloat(c.textContent)),
        );
        assert.ok(shares.length >= 5, `${shares.length} layers`);
        assert.deepEqual(shares, [...shares].sort((a, b) => b - a));
        // The pictures, with their tooltips and their own colours.
        await page.click('#tab-schedule');
        await page.waitForSelector('[data-picture="schedule.svg"] svg path.l0');
        assert.match(await page.textContent('[data-picture="schedule.svg"]'), /conv \d+ %/);
        assert.ok((await page.$$('[data-picture="schedule.svg"] path title')).length > 3);
        const fill = await page.$eval('[data-picture="schedule.svg"] path.l0', (e) => getComputedStyle(e).fill);
        assert.notEqual(fill, 'rgb(0, 0, 0)');
        await shot(page, 'compiled-schedule');
        await page.click('#tab-memory');
        await page.waitForSelector('[data-picture="memory.svg"] svg path.map');
        await shot(page, 'compiled-memory');
        await page.click('#tab-engines');
        assert.match(await page.textContent('#panel-engines'), /core 0, conv/);
        assert.match(await page.textContent('#panel-engines'), /weights, tables/);
        await page.click('#tab-ports');
        assert.match(await page.textContent('#panel-ports'), /nhwc/);
        // The drawing is the heat map.
        await page.waitForSelector('#canvas > svg [data-share]');
        // The program can be had, and is one.
        const href = await page.getAttribute('[data-file="model.bpu"]', 'href');
        const file = await fetch(server.url + href);
        assert.equal(file.status, 200);
        assert.equal(file.headers.get('content-type'), 'application/octet-stream');
        assert.ok((await file.arrayBuffer()).byteLength > 1000);
    });

    test('an illegal network shows its findings instead', async () => {
        const page = await page_new();
        await send(page, '', 'bernoulli2');
        await page.waitForSelector('#verdict[data-verdict=illegal]', { timeout: 60000 });
        assert.match(await page.textContent('#panel-findings'), /kernel height is 8/);
        await page.waitForSelector('#canvas > svg [data-verdict=illegal]');
    });

    test('the form and the result fit on a phone', async () => {
        const page = await page_new({ viewport: { width: 390, height: 844 } });
        await page.waitForSelector('input[name=march]');
        await page.check('input[name=kind][value=compile]');
        await no_overflow(page, 'the form');
        await send(page, 'ddr');
        await page.waitForSelector('#figures', { timeout: 60000 });
        await no_overflow(page, 'a result');
        for (const tab of ['schedule', 'memory', 'engines', 'ports']) {
            await page.click(`#tab-${tab}`);
            await no_overflow(page, tab);
        }
    });
});
