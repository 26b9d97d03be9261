// result: the page of a result: findings, nodes, files, address, progress.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import { check, drawn, in_canvas, page_new, stat, verdict } from './steps.js';

describe('a result', () => {
    test('findings: all of them, filtered by text, rule and severity, sorted', async () => {
        const page = await page_new();
        await check(page, models.illegal());
        assert.equal(await verdict(page), 'illegal');
        const total = await page.locator('.findings tbody tr').count();
        assert.ok(total >= 3, `${total} findings`);
        assert.equal(await stat(page, 'illegal'), 2);

        const row = page.locator('.findings tbody tr', { hasText: 'conv1' }).first();
        for (const [label, pattern] of [
            ['Actual', /33/],
            ['Limit', /31/],
            ['Rule', /kernel/],
            ['Message', /\w+/],
            ['Severity', /Error/],
        ]) {
            assert.match(await row.locator(`[data-label="${label}"]`).innerText(), pattern, label);
        }

        const layers = row.locator('.rewrite');
        await layers.locator('summary').click();
        assert.match(await layers.locator('p').innerText(), /input of \d+(x\d+)+/);
        for (const t of await layers.locator('li').allInnerTexts())
            assert.match(t, /^torch\.\S+\(.*\(\d+, \d+\).*\)$/);
        assert.ok((await layers.locator('li').count()) >= 1);

        await page.fill('#f-text', 'conv3');
        await page.waitForFunction(
            (n) => document.querySelectorAll('.findings tbody tr').length < n,
            total,
        );
        for (const t of await page.locator('.findings tbody tr').allInnerTexts())
            assert.match(t, /conv3/);
        await page.click('text=Clear the filters');
        assert.equal(await page.locator('.findings tbody tr').count(), total);

        const rule = await page.$eval('#f-rule option:nth-child(2)', (o) => o.value);
        await page.selectOption('#f-rule', rule);
        for (const t of await page.locator('.findings tbody [data-label=Rule]').allInnerTexts())
            assert.ok(t.includes(rule));
        await page.selectOption('#f-rule', '');
        await page.selectOption('#f-cause', 'direct');
        assert.ok((await page.locator('.findings tbody tr').count()) > 0);
        await page.selectOption('#f-cause', '');
        await page.click('.toggle-error');
        for (const t of await page.locator('.findings tbody [data-label=Severity]').allInnerTexts())
            assert.match(t, /Error/);
        assert.equal(await page.getAttribute('.toggle-error', 'aria-pressed'), 'true');
        await page.click('.toggle-error');

        const actual = () => page.locator('.findings tbody [data-label=Actual]').allInnerTexts();
        await page.click('.findings th[data-key=actual] button');
        assert.equal(
            await page.getAttribute('.findings th[data-key=actual]', 'aria-sort'),
            'ascending',
        );
        const numbers = async () => (await actual()).map(Number).filter((n) => !Number.isNaN(n));
        const up = await numbers();
        assert.ok(up.length > 1);
        assert.deepEqual(
            up,
            [...up].sort((a, b) => a - b),
        );
        await page.click('.findings th[data-key=actual] button');
        assert.equal(
            await page.getAttribute('.findings th[data-key=actual]', 'aria-sort'),
            'descending',
        );
        assert.deepEqual(
            await numbers(),
            [...up].sort((a, b) => b - a),
        );
        await shot(page, 'findings-sorted');
    });

    test('from a finding to its node and from a node to its findings', async () => {
        const page = await page_new();
        await check(page, models.illegal());
        await verdict(page);
        await drawn(page);
        await page.locator('.findings .node-link', { hasText: 'conv3' }).first().click();
        await page.waitForSelector('#node-3.is-selected');
        assert.equal(await page.getAttribute('#node-3', 'data-node'), 'conv3');
        assert.equal(await in_canvas(page, '#node-3'), true, 'the node is in sight');
        assert.match(await page.innerText('.node-info'), /conv3/);
        assert.doesNotMatch(await page.innerText('main'), /undefined|null|NaN|\[object/);
        await shot(page, 'illegal');

        await page.focus('#canvas');
        await page.keyboard.press('Escape');
        await page.waitForSelector('.node-info', { state: 'hidden' });
        assert.equal(await page.locator('.is-selected[data-node]').count(), 0);
        await page.keyboard.press('0');
        await page.locator('#node-0').click(); // a node without findings
        await page.waitForSelector('#node-0.is-selected');
        assert.doesNotMatch(await page.innerText('.node-info'), /undefined|null/);
        await page.keyboard.press('0');
        await page.locator('#node-1').click();
        await page.waitForSelector('#node-1.is-selected');
        assert.equal(await page.locator('.is-selected[data-node]').count(), 1);
        await page.click('.node-info .button');
        const names = await page.locator('.findings tbody .node-link').allInnerTexts();
        assert.ok(names.length > 0 && names.every((n) => n.trim() === 'conv1'), names.join());
        await page.click('.chip');
        assert.ok((await page.locator('.findings tbody tr', { hasText: 'conv3' }).count()) > 0);

        await page.click('#tab-nodes');
        assert.equal(await page.locator('.nodes tbody tr').count(), 5);
        assert.match(
            await page.innerText('.nodes tbody tr:nth-child(1)'),
            /conv0[\s\S]*Legal[\s\S]*1×16×64×64/,
        );
        await page.selectOption('#n-verdict', 'illegal');
        assert.equal(await page.locator('.nodes tbody tr').count(), 2);
    });

    test('the address holds the chosen tab and node', async () => {
        const page = await page_new();
        await check(page, models.illegal());
        await drawn(page);
        await page.locator('.findings .node-link', { hasText: 'conv3' }).first().click();
        await page.click('#tab-nodes');
        assert.match(page.url(), /\?.*node=conv3.*tab=nodes/);
        await page.reload();
        await page.waitForSelector('#node-3.is-selected');
        assert.equal(await page.isVisible('#panel-nodes'), true);
    });

    test('a job that runs shows its stage and progress as they come', async () => {
        const page = await page_new();
        let asked = 0;
        await page.route(/\/v1\/jobs\/[^/]+$/, async (r) => {
            asked += 1;
            if (asked > 1) return r.continue();
            const response = await r.fetch();
            return r.fulfill({
                response,
                json: {
                    ...(await response.json()),
                    state: 'queued',
                    stage: null,
                    progress: 0,
                    verdict: null,
                },
            });
        });
        let release;
        const held = new Promise((resolve) => {
            release = resolve;
        });
        await page.route('**/events', async (r) => {
            await held;
            const event = (o) => `event: progress\ndata: ${JSON.stringify(o)}\n\n`;
            return r.fulfill({
                contentType: 'text/event-stream',
                body:
                    event({ state: 'running', stage: 'import', progress: 0.25 }) +
                    event({ state: 'running', stage: 'check', progress: 0.75 }) +
                    event({ state: 'succeeded', stage: null, progress: 1 }),
            });
        });
        await check(page, models.legal('slow'));
        await page.waitForSelector('.progress-card:has-text("Waiting for a worker")');
        assert.equal(await page.isVisible('.progress-card button:has-text("Cancel")'), true);
        await page.evaluate(() => {
            window.seen = [];
            new MutationObserver(() => {
                const p = document.querySelector('.progress-card progress');
                if (p)
                    window.seen.push(
                        `${p.value} ${document.querySelector('.progress-text').textContent}`,
                    );
            }).observe(document.querySelector('.progress-card'), {
                childList: true,
                subtree: true,
                attributes: true,
            });
        });
        release();
        assert.equal(await verdict(page), 'legal');
        const seen = await page.evaluate(() => window.seen.join('\n'));
        assert.match(seen, /0\.75 Checking the operators/);
    });

    test('2,000 findings stay quick: paged by 200', async () => {
        const page = await page_new();
        await check(page, models.many(1000));
        assert.equal(await verdict(page), 'illegal');
        const n = await stat(page, 'errors');
        assert.ok(n >= 2000, `${n} errors`);
        assert.equal(await page.locator('.findings tbody tr').count(), 200);
        await page.waitForSelector('#canvas > svg, .canvas-message strong', { timeout: 30000 });
        const ms = await page.evaluate(async () => {
            const t = performance.now();
            document.querySelector('.findings th[data-key=message] button').click();
            document.body.getBoundingClientRect();
            await new Promise((r) => requestAnimationFrame(r));
            return performance.now() - t;
        });
        assert.ok(ms < 1000, `sorting took ${ms.toFixed()} ms`);
        await page.locator('#panel-findings .pager button', { hasText: 'Next' }).click();
        assert.match(await page.innerText('#panel-findings .pager'), /201–400 of/);
        await page.fill('#f-text', 'conv999');
        await page.waitForFunction(
            () => document.querySelectorAll('.findings tbody tr').length < 10,
        );
        await page.locator('.findings .node-link').first().click();
        await page.waitForSelector('#node-999.is-selected', { timeout: 30000 });
        assert.equal(await in_canvas(page, '#node-999'), true);
    });

    test('the files of a result can be downloaded', async () => {
        const page = await page_new();
        await check(page, models.legal('files'));
        await verdict(page);
        await page.click('#tab-files');
        const [download] = await Promise.all([
            page.waitForEvent('download'),
            page.click('.files a:has-text("report.json")'),
        ]);
        assert.equal(JSON.parse(await readFile(await download.path(), 'utf8')).verdict, 'legal');
    });

    test('the same model can be checked for the other march', async () => {
        const page = await page_new();
        await check(page, models.legal('both'), 'bayes');
        await verdict(page);
        const first = page.url();
        await page.click('button:has-text("Check for Bernoulli")');
        await page.waitForFunction((u) => location.href !== u, first);
        await page.waitForSelector('.verdict-march:has-text("Bernoulli")');
    });
});
