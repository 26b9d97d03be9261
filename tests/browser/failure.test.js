// failure: broken files, open shapes, missing results, a server that is away.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import { check, choose, open, page_new, verdict } from './steps.js';

describe('what goes wrong', () => {
    test('a broken file shows what, where and what to do', async () => {
        const page = await page_new();
        await check(page, models.broken());
        await page.waitForSelector('.problem');
        assert.match(await page.innerText('[data-field=where]'), /\d/);
        assert.ok((await page.innerText('[data-field=hint]')).length > 5);
        assert.equal(await page.innerText('[data-field=code]'), 'bad_model');
        await shot(page, 'failed');
    });

    test('what is not a model is told so', async () => {
        const page = await page_new();
        await choose(page, models.not_a_model());
        await page.click('#submit');
        await page.waitForSelector('.problem');
        open.allowed.push(/422|415|400/); // the browser notes an upload that is refused at once
        assert.match(await page.innerText('[data-field=code]'), /unrecognised_format|bad_model/);
        assert.ok((await page.innerText('[data-field=hint]')).length > 5);
    });

    test('an open input shape is asked for, and the retry gets its verdict', async () => {
        const page = await page_new();
        await check(page, models.open_shape());
        await page.waitForSelector('#shape-form');
        assert.equal(await page.innerText('[data-field=code]'), 'shape_needed');
        assert.match(await page.innerText('#shape-form label'), /image/);
        const first = page.url();
        await page.click('#shape-form button[type=submit]');
        assert.equal(page.url(), first, 'an empty field is not sent');
        await shot(page, 'shape-needed');
        await page.fill('#shape-form .shape-value', '1x3x32x32');
        await page.click('#shape-form button[type=submit]');
        await page.waitForFunction((u) => location.href !== u, first);
        await page.waitForSelector('#verdict');
        assert.match(await page.textContent('h1'), /open_shape/);
    });

    test('the shape can be given with the upload', async () => {
        const page = await page_new();
        await choose(page, models.open_shape());
        await page.click('summary');
        await page.click('text=Give the shape of an input');
        await page.fill('.shape-name', 'image');
        await page.fill('.shape-value', '1 x 3 × 48, 48');
        await page.click('#submit');
        await page.waitForSelector('#verdict');
        await page.click('#tab-nodes');
        assert.match(await page.innerText('.nodes tbody'), /1×3×48×48/);
    });

    test('a result that is not there says so', async () => {
        const page = await page_new({ path: '/#/jobs/01AAAAAAAAAAAAAAAAAAAAAAAA' });
        open.allowed.push(/404/);
        await page.waitForSelector('.problem');
        assert.equal(await page.innerText('[data-field=code]'), 'not_found');
    });

    test('a server that is away is told so', async () => {
        const page = await page_new();
        open.allowed.push(/ERR_|Failed to load/);
        await choose(page, models.legal('away'));
        await page.route('**/v1/**', (r) => r.abort());
        await page.click('#submit');
        await page.waitForSelector('.upload .problem');
        assert.equal(await page.innerText('.upload [data-field=code]'), 'network');
        await page.unroute('**/v1/**');
        await page.click('#submit');
        assert.equal(await verdict(page), 'legal');
    });
});
