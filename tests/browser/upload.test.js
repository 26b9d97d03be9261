// upload: from a file to its verdict.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as models from './models.js';
import { shot } from './setup.js';
import { check, drawn, open, page_new, stat, verdict } from './steps.js';

describe('upload', () => {
    test('a file chosen by the button gets its verdict, and a legal one says so', async () => {
        const page = await page_new();
        await shot(page, 'home-empty');
        assert.equal(await page.isDisabled('#submit'), true, 'nothing to send yet');
        await check(page, models.legal());
        assert.equal(await verdict(page), 'legal');
        assert.match(await page.textContent('#verdict'), /Legal on .*Bayes/i);
        assert.equal(await stat(page, 'nodes'), 2);
        assert.equal(await stat(page, 'errors'), 0);
        assert.match(await page.textContent('h1'), /two_convs/);
        await page.waitForFunction(() =>
            /Verdict: legal/.test(document.getElementById('live').textContent),
        );
        await drawn(page);
        await shot(page, 'legal');
    });

    test('a file dropped on the page goes into the form; the march is the chosen one', async () => {
        const page = await page_new();
        await page.waitForSelector('input[name=march]');
        const file = models.illegal('dropped');
        const transfer = await page.evaluateHandle(
            ({ name, text }) => {
                const t = new DataTransfer();
                t.items.add(new File([text], name));
                return t;
            },
            { name: file.name, text: file.buffer.toString() },
        );
        await page.dispatchEvent('#zone', 'dragenter', { dataTransfer: transfer });
        assert.equal(await page.isVisible('#drop-veil'), true);
        await page.dispatchEvent('#zone', 'drop', { dataTransfer: transfer });
        assert.equal(await page.isVisible('#drop-veil'), false);
        assert.match(await page.textContent('.chosen'), /dropped\.json/);
        await page.check('input[name=march][value=bernoulli2]');
        await page.click('#submit');
        assert.equal(await verdict(page), 'illegal');
        assert.match(await page.textContent('#verdict'), /Illegal on .*Bernoulli ?2/i);
    });

    test('the upload and the job show how far they are', async () => {
        const page = await page_new();
        await page.waitForSelector('input[name=march]');
        await page.evaluate(() => {
            window.seen = new Set();
            new MutationObserver(() => {
                for (const p of document.querySelectorAll('progress'))
                    window.seen.add(p.getAttribute('aria-label'));
            }).observe(document.body, { childList: true, subtree: true });
        });
        await check(page, models.legal('progress'));
        await verdict(page);
        const seen = await page.evaluate(() => [...window.seen]);
        assert.ok(seen.includes('Upload'), `bars seen: ${seen}`);
    });

    test('without an event stream the result still arrives', async () => {
        const page = await page_new();
        open.allowed.push(/events/);
        await page.route('**/events', (r) => r.abort());
        await check(page, models.legal('no_stream'));
        assert.equal(await verdict(page), 'legal');
    });

    test('keyboard only: from the page to a verdict', async () => {
        const page = await page_new();
        await page.waitForSelector('input[name=march]');
        const focused = () =>
            page.evaluate(
                () =>
                    document.activeElement.id ||
                    document.activeElement.name ||
                    document.activeElement.tagName,
            );
        await page.keyboard.press('Tab');
        assert.equal(await focused(), 'skip');
        await page.keyboard.press('Enter');
        assert.equal(await focused(), 'main');
        await page.keyboard.press('Tab');
        assert.equal(await focused(), 'choose');
        const [chooser] = await Promise.all([
            page.waitForEvent('filechooser'),
            page.keyboard.press('Enter'),
        ]);
        await chooser.setFiles(models.illegal('keyboard'));
        await page.waitForFunction(() => document.activeElement.id === 'submit');
        await page.keyboard.press('Shift+Tab');
        await page.keyboard.press('Shift+Tab');
        assert.equal(await focused(), 'march');
        const before = await page.$eval('input[name=march]:checked', (i) => i.value);
        await page.keyboard.press('ArrowDown');
        assert.notEqual(await page.$eval('input[name=march]:checked', (i) => i.value), before);
        await page.keyboard.press('Tab');
        await page.keyboard.press('Tab');
        await page.keyboard.press('Enter');
        assert.equal(await verdict(page), 'illegal');
        assert.equal(await focused(), 'H1');

        // On to the findings and to the node in the drawing, still without a mouse.
        await drawn(page);
        await page.focus('[role=tab][aria-selected=true]');
        await page.keyboard.press('ArrowRight');
        assert.equal(await page.isVisible('#panel-nodes'), true);
        await page.keyboard.press('ArrowLeft');
        assert.equal(await page.isVisible('#panel-findings'), true);
        await page.focus('.findings .node-link');
        await page.keyboard.press('Enter');
        await page.waitForSelector('#node-1.is-selected');
    });
});
