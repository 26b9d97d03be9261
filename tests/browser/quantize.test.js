// quantize: from a float network and a data file to its fixed-point network and figures.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { shot } from './setup.js';
import { choose, no_overflow, page_new, server } from './steps.js';

const fake = process.env.BPUHUB_BIN === 'fake';
const SIDE = 28;

const lenet = () => ({
    name: 'lenet_float.onnx',
    mimeType: 'application/octet-stream',
    buffer: readFileSync(new URL('../fixtures/lenet_float.onnx', import.meta.url)),
});

/** IDX as MNIST has it: pictures with a bright bar that moves, or as many labels. */
function idx(name, frames, label) {
    const pictures = label === undefined;
    const head = Buffer.alloc(pictures ? 16 : 8);
    head.writeUInt32BE(pictures ? 0x0803 : 0x0801, 0);
    head.writeUInt32BE(frames, 4);
    if (pictures) {
        head.writeUInt32BE(SIDE, 8);
        head.writeUInt32BE(SIDE, 12);
    }
    const body = Buffer.alloc(pictures ? frames * SIDE * SIDE : frames, label ?? 0);
    for (let f = 0; pictures && f < frames; f++)
        for (let y = 4; y < 24; y++)
            for (let x = 0; x < 5; x++) body[(f * SIDE + y) * SIDE + ((f * 3 + x) % SIDE)] = 255 - 20 * x;
    return { name, mimeType: 'application/octet-stream', buffer: Buffer.concat([head, body]) };
}

async function send(page, kind, files) {
    await choose(page, lenet());
    await page.check(`input[name=kind][value=${kind}]`);
    for (const [option, file] of Object.entries(files))
        await page.setInputFiles(`input[data-option=${option}]`, file);
    await page.click('#submit');
    await page.waitForURL(/#\/jobs\//);
    await page.waitForSelector('#figures', { timeout: 60000 });
}

const stat = (page, name) => page.textContent(`[data-stat=${name}] b`);

describe('quantize', { skip: fake && 'the stand-in does not calculate' }, () => {
    test('a network and typical inputs become a fixed-point network with its figures', async () => {
        const page = await page_new();
        await send(page, 'quantize', { calibration: idx('inputs.idx', 20) });
        assert.match(await page.textContent('#figures'), /Quantized for .*Bayes/i);
        assert.match(await page.textContent('#figures'), /Calibrated on 20 frames/);
        assert.match(await stat(page, 'sqnr'), /^\d+\.\d dB$/);
        assert.equal(await stat(page, 'float'), '0');
        // The layers, the worst first.
        const figures = await page.$$eval('#panel-layers td[data-label=SQNR]', (cells) =>
            cells.map((c) => parseFloat(c.textContent)).filter((x) => !Number.isNaN(x)),
        );
        assert.ok(figures.length >= 4, `${figures.length} layers`);
        assert.deepEqual(figures, [...figures].sort((a, b) => a - b));
        assert.ok((await page.$$('#panel-layers svg.histogram path')).length > 0);
        await page.click('#tab-fused');
        assert.match(await page.textContent('#panel-fused'), /conv/);
        await page.click('#tab-scales');
        assert.ok((await page.$$('#panel-scales tbody tr')).length >= 5);
        // The drawing is that of the fixed-point network.
        await page.waitForSelector('#canvas > svg');
        await shot(page, 'quantized');
        // The file is a model that the hub reads again.
        const href = await page.getAttribute('[data-file="fixed.bpug"]', 'href');
        const file = await fetch(server.url + href);
        assert.equal(file.status, 200);
        const again = await fetch(`${server.url}/v1/check?march=bayes&filename=fixed.bpug`, {
            method: 'POST',
            body: Buffer.from(await file.arrayBuffer()),
            headers: { 'Content-Type': 'application/octet-stream' },
        });
        assert.equal((await again.json()).verdict, 'legal');
    });

    test('without data the page says what is missing', async () => {
        const page = await page_new();
        await choose(page, lenet());
        await page.check('input[name=kind][value=quantize]');
        assert.equal(await page.textContent('#submit'), 'Quantize the model');
        await page.click('#submit');
        await page.waitForURL(/#\/jobs\//);
        await page.waitForSelector('.problem');
        assert.match(await page.textContent('.problem'), /calibration/i);
    });

    test('a model is evaluated on a test set with labels', async () => {
        const page = await page_new();
        await send(page, 'evaluate', {
            data: idx('test.idx', 16),
            labels: idx('labels.idx', 16, 3),
            calibration: idx('inputs.idx', 20),
        });
        assert.match(await page.textContent('#figures'), /On 16 frames/);
        assert.match(await stat(page, 'top1-fixed'), /^\d+\.\d\d %$/);
        assert.match(await stat(page, 'top1-float'), /^\d+\.\d\d %$/);
        assert.ok((await page.$$('#panel-layers tbody tr')).length >= 4);
        await page.click('#tab-suggestions');
        assert.ok((await page.textContent('#panel-suggestions')).length > 20);
        await page.click('#tab-classes');
        assert.equal((await page.$$('#panel-classes tbody tr')).length, 10);
        await shot(page, 'evaluated');
        await page.setViewportSize({ width: 390, height: 844 });
        await no_overflow(page, 'an evaluation on a phone');
    });

    test('the form and the result fit on a phone', async () => {
        const page = await page_new({ viewport: { width: 390, height: 844 } });
        await page.waitForSelector('input[name=march]');
        await page.check('input[name=kind][value=evaluate]');
        await no_overflow(page, 'the form');
        await page.check('input[name=kind][value=quantize]');
        await send(page, 'quantize', { calibration: idx('inputs.idx', 12) });
        await no_overflow(page, 'a result');
    });
});
