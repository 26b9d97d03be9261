// compare: two results are picked in the list, or from the page of one, and what changed is shown.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { shot } from './setup.js';
import { no_overflow, open, page_new, server } from './steps.js';

const fake = process.env.BPUHUB_BIN === 'fake';

async function job(call, name = 'lenet_float.onnx') {
    const made = await fetch(`${server.url}/v1/${call}&filename=${name}`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', prefer: 'wait=60' },
        body: await readFile(new URL('../fixtures/lenet_float.onnx', import.meta.url)),
    });
    const doc = await made.json();
    assert.equal(doc.state, 'succeeded');
    return doc;
}

const cell = (page, figure, n) => page.textContent(`[data-figure=${figure}] td:nth-child(${n})`);

describe('comparing', { skip: fake && 'the stand-in does not calculate' }, () => {
    test('two results of the list', async () => {
        const fast = await job('compile?march=bayes');
        const slow = await job('compile?march=bayes&opt=0');
        const page = await page_new();
        await page.waitForSelector(`tr[data-job="${slow.id}"] .compare-box`);
        assert.equal(await page.isVisible('.compare-line'), false);
        await page.check(`tr[data-job="${slow.id}"] .compare-box`);
        assert.match(await page.textContent('.compare-line'), /choose another one/);
        await page.check(`tr[data-job="${fast.id}"] .compare-box`);
        await page.click('.compare-line a');
        await page.waitForSelector('#compare');
        // The earlier one is the base, whichever was ticked first.
        assert.match(await page.textContent('[data-side=base]'), /O2 cores=1/);
        assert.match(await page.textContent('[data-side=head]'), /O0 cores=1/);
        assert.match(await cell(page, 'latency_us', 4), /^\+[\d.]+ us$/);
        assert.equal(await cell(page, 'latency_us', 6), 'worse');
        const rows = page.locator('#compare-layers tbody tr');
        assert.equal(await rows.count(), 5);
        assert.match(await page.textContent('#compare-findings'), /0 gained, 0 lost/);
        await no_overflow(page, 'comparison');
        await shot(page, 'compare');
        await page.click('a:has-text("Swap")');
        await page.waitForFunction(() => /O0/.test(document.querySelector('[data-side=base]')?.textContent));
        assert.equal(await cell(page, 'latency_us', 6), 'better');
        await page.setViewportSize({ width: 390, height: 800 });
        await no_overflow(page, 'comparison on a phone');
    });

    test('from the page of a result', async () => {
        const first = await job('check?march=bayes', 'menu.onnx');
        const second = await job('check?march=bernoulli2', 'menu.onnx');
        // One content has one name, the first; the menu goes by that.
        const page = await page_new({ path: `/#/jobs/${second.id}` });
        await page.waitForSelector('.compare-menu select');
        await page.selectOption('.compare-menu select', first.id);
        await page.waitForSelector('#compare-findings');
        assert.ok((await page.locator('[data-finding=gained]').count()) > 0);
        assert.match(await page.textContent('[data-side=head]'), /Bernoulli2/i);
    });

    test('a comparison that cannot be', async () => {
        const page = await page_new({ path: '/#/compare?base=none&head=none' });
        open.allowed.push(/404/);
        await page.waitForSelector('text=There is no such thing');
    });
});
