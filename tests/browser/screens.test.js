// screens: phones, tablets, dark and light.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import {
    check,
    drawn,
    no_overflow,
    page_close,
    page_new,
    post_jobs,
    server,
    verdict,
} from './steps.js';

describe('screens', () => {
    before(() => post_jobs(['on_the_list']));

    for (const [what, options] of [
        [
            'phone',
            {
                viewport: { width: 360, height: 740 },
                hasTouch: true,
                isMobile: true,
                deviceScaleFactor: 2,
            },
        ],
        ['phone-dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark' }],
        ['dark', { colorScheme: 'dark' }],
        ['tablet', { viewport: { width: 820, height: 1100 } }],
    ]) {
        test(`${what}: everything fits into the width`, async () => {
            const page = await page_new(options);
            await page.waitForSelector('input[name=march]');
            await page.waitForSelector('.results tbody tr');
            await no_overflow(page, 'home');
            await shot(page, `${what}-home`, { fullPage: true });
            await check(page, models.illegal(`a_rather_long_name_of_a_network_${'x'.repeat(60)}`));
            await verdict(page);
            await drawn(page);
            await no_overflow(page, 'result');
            await page.locator('.findings .node-link').first().click();
            await page.waitForSelector('.is-selected[data-node]');
            await no_overflow(page, 'result with a chosen node');
            await shot(page, `${what}-result`, { fullPage: what.startsWith('phone') });
            await page.click('#tab-nodes');
            await no_overflow(page, 'nodes');
            await page.click('#tab-files');
            await no_overflow(page, 'files');
            await page.goto(`${server.url}/#/`);
            await page.waitForSelector('#choose');
            await check(page, models.open_shape());
            await page.waitForSelector('#shape-form');
            await no_overflow(page, 'problem');
        });
    }

    test('texts have enough contrast in both themes', async () => {
        for (const colorScheme of ['light', 'dark']) {
            const page = await page_new({ colorScheme });
            await check(page, models.illegal());
            await verdict(page);
            await drawn(page);
            const poor = await page.evaluate(() => {
                const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
                const light = ([r, g, b]) =>
                    [r, g, b]
                        .map(
                            (v) => (
                                (v /= 255),
                                v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
                            ),
                        )
                        .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
                const ground = (el) => {
                    for (; el; el = el.parentElement) {
                        const c = parse(getComputedStyle(el).backgroundColor);
                        if (c.length === 3 || c[3] === 1) return c;
                    }
                    return [255, 255, 255];
                };
                const bad = [];
                for (const el of document.querySelectorAll('body *:not(svg *)')) {
                    if (
                        ![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) ||
                        !el.getClientRects().length ||
                        el.disabled
                    )
                        continue;
                    const [a, b] = [
                        light(parse(getComputedStyle(el).color)),
                        light(ground(el)),
                    ].sort((p, q) => q - p);
                    if ((a + 0.05) / (b + 0.05) < 4.5)
                        bad.push(
                            `${el.tagName}.${el.className} ${((a + 0.05) / (b + 0.05)).toFixed(2)} "${el.textContent.slice(0, 30)}"`,
                        );
                }
                return bad;
            });
            assert.deepEqual(poor, [], colorScheme);
            if (colorScheme === 'light') {
                await page_close();
            }
        }
    });
});
