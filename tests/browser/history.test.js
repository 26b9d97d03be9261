// history: the list of past results.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import { check, page_new, post_jobs, verdict } from './steps.js';

describe('past results', () => {
    test('search, filters, pages, and the way back', async () => {
        await post_jobs([...Array.from({ length: 30 }, (_, i) => `series_${i}`), 'needle_in_hay']);
        const page = await page_new();
        await page.waitForSelector('.results tbody tr');
        const rows = page.locator('.results tbody tr');
        assert.equal(await rows.count(), 25);
        assert.match(await rows.first().innerText(), /needle_in_hay/, 'the newest comes first');
        await page.waitForFunction(() => !document.querySelector('.badge-busy'), null, {
            timeout: 20000,
        });
        await shot(page, 'home');

        await page.click('[data-page=older]');
        await page.waitForFunction(() => location.hash.includes('cursor='));
        await page.waitForFunction(
            () => !document.querySelector('.results tbody').innerText.includes('needle_in_hay'),
        );
        await page.waitForSelector('[data-page=newest]');
        await page.goBack();
        await page.waitForFunction(() =>
            document.querySelector('.results tbody').innerText.includes('needle_in_hay'),
        );

        await page.fill('#r-q', 'needle');
        await page.waitForFunction(
            () => document.querySelectorAll('.results tbody tr').length === 1,
        );
        assert.match(page.url(), /q=needle/);
        await page.click('.job-link');
        await verdict(page);
        await page.goBack();
        await page.waitForFunction(
            () => document.querySelectorAll('.results tbody tr').length === 1,
        );
        assert.equal(await page.inputValue('#r-q'), 'needle');
        await page.reload();
        await page.waitForFunction(
            () => document.querySelectorAll('.results tbody tr').length === 1,
        );
        await page.fill('#r-q', 'no such thing at all');
        await page.waitForSelector('text=Nothing matches');
        await page.fill('#r-q', '');
        await page.waitForFunction(
            () => document.querySelectorAll('.results tbody tr').length === 25,
        );

        await page.selectOption('#r-verdict', 'illegal');
        await page.waitForFunction(() => location.hash.includes('verdict=illegal'));
        await page.waitForFunction(() =>
            [...document.querySelectorAll('.results tbody tr')].every((r) =>
                /Illegal/.test(r.innerText),
            ),
        );
        await page.selectOption('#r-verdict', '');
        await page.fill('#r-project', 'history');
        await page.waitForFunction(() => location.hash.includes('project=history'));
        await page.waitForFunction(() => {
            const r = [...document.querySelectorAll('.results tbody tr')];
            return r.length === 25 && r.every((x) => /history/.test(x.innerText));
        });
    });

    test('what is unfinished in the list is looked at again', async () => {
        await post_jobs(['will_finish']);
        const page = await page_new({ path: '/#/?q=will_finish' });
        await page.waitForSelector('.results tbody tr'); // the first list is not the one to change
        let asked = 0;
        await page.route(/\/v1\/jobs\?/, async (r) => {
            asked += 1;
            if (asked > 1) return r.continue();
            const response = await r.fetch();
            const doc = await response.json();
            return r.fulfill({
                response,
                json: {
                    ...doc,
                    items: doc.items.map((j) => ({
                        ...j,
                        state: 'running',
                        stage: 'check',
                        verdict: null,
                    })),
                },
            });
        });
        await page.reload();
        await page.waitForSelector('.results .badge-busy:has-text("Running: check")');
        await page.waitForSelector('.results .badge-ok:has-text("Legal")');
    });

    test('a result that is deleted leaves the list', async () => {
        const page = await page_new();
        await check(page, models.legal('to_be_deleted'));
        await verdict(page);
        await page.click('button:has-text("Delete")');
        await page.click('button:has-text("Really delete?")');
        await page.waitForURL(/view=results/);
        await page.fill('#r-q', 'to_be_deleted');
        await page.waitForFunction(
            () =>
                !document
                    .querySelector('.results tbody')
                    .innerText.match(/to_be_deleted[\s\S]*\tcheck/),
        );
    });
});
