// drawing: the drawing by keyboard, mouse and touch, and from a hostile hand.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as models from './models.js';
import { check, drawn, open, page_new, view } from './steps.js';

describe('the drawing', () => {
    test('the drawing zooms, moves and fits by keyboard, wheel and buttons', async () => {
        const page = await page_new();
        await check(page, models.illegal());
        await drawn(page);
        await page.focus('#canvas');
        const start = await view(page);
        const changed = async (act, what) => {
            const was = await view(page);
            await act();
            await page
                .waitForFunction(
                    (w) => {
                        const d = document.querySelector('#canvas').dataset;
                        return (
                            Number(d.scale) !== w.k || Number(d.x) !== w.x || Number(d.y) !== w.y
                        );
                    },
                    was,
                    { timeout: 3000 },
                )
                .catch(() => assert.fail(`${what} changes nothing`));
            return [was, await view(page)];
        };
        let [was, now] = await changed(() => page.keyboard.press('+'), 'plus');
        assert.ok(now.k > was.k);
        [was, now] = await changed(() => page.keyboard.press('-'), 'minus');
        assert.ok(now.k < was.k);
        [was, now] = await changed(() => page.keyboard.press('ArrowRight'), 'right');
        assert.ok(now.x < was.x);
        [was, now] = await changed(() => page.keyboard.press('ArrowUp'), 'up');
        assert.ok(now.y > was.y);
        await page.keyboard.press('0');
        await page.waitForFunction(() => {
            const c = document.querySelector('#canvas').getBoundingClientRect();
            const s = document.querySelector('#canvas > svg').getBoundingClientRect();
            return (
                s.top >= c.top - 1 &&
                s.bottom <= c.bottom + 1 &&
                s.left >= c.left - 1 &&
                s.right <= c.right + 1
            );
        });
        const box = await page.locator('#canvas').boundingBox();
        await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
        [was, now] = await changed(() => page.mouse.wheel(0, -200), 'wheel');
        assert.ok(now.k > was.k);
        [was, now] = await changed(async () => {
            await page.mouse.down();
            await page.mouse.move(box.x + box.width / 2 + 40, box.y + box.height / 2 + 30, {
                steps: 4,
            });
            await page.mouse.up();
        }, 'drag');
        assert.ok(
            Math.abs(now.x - was.x - 40) < 2 && Math.abs(now.y - was.y - 30) < 2,
            JSON.stringify([was, now]),
        );
        await changed(() => page.click('[aria-label^="Fit"]'), 'fit');
        await page.focus('#canvas');
        await page.keyboard.press('n');
        await page.waitForSelector('#node-1.is-selected');
        await page.keyboard.press('n');
        await page.waitForSelector('#node-3.is-selected');
        await page.keyboard.press('p');
        await page.waitForSelector('#node-1.is-selected');
        assert.ok(start.k > 0);
    });

    test('two fingers zoom the drawing', async () => {
        const page = await page_new({
            viewport: { width: 360, height: 740 },
            hasTouch: true,
            isMobile: true,
        });
        await check(page, models.illegal());
        await drawn(page);
        await page.locator('#canvas').scrollIntoViewIfNeeded();
        const box = await page.locator('#canvas').boundingBox();
        const [cx, cy] = [box.x + box.width / 2, box.y + box.height / 2];
        const was = await view(page);
        const cdp = await page.context().newCDPSession(page);
        const touch = (type, apart) =>
            cdp.send('Input.dispatchTouchEvent', {
                type,
                touchPoints:
                    apart === undefined
                        ? []
                        : [
                              { x: cx - apart, y: cy, id: 0 },
                              { x: cx + apart, y: cy, id: 1 },
                          ],
            });
        await touch('touchStart', 30);
        for (const apart of [40, 60, 80, 90]) await touch('touchMove', apart);
        await touch('touchEnd');
        await page.waitForFunction(
            (k) => Number(document.querySelector('#canvas').dataset.scale) > k * 2,
            was.k,
        );
    });

    test('a drawing from a hostile hand runs nothing and loads nothing', async () => {
        const page = await page_new();
        open.allowed.push(/sanitise\.js/); // the browser tells what the parser met; what counts is what is left
        await page.route('**/graph.svg', (r) =>
            r.fulfill({
                contentType: 'image/svg+xml',
                body: `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="bpu-drawing" viewBox="0 0 100 100" onload="window.owned=1">
      <script>window.owned=2</script>
      <style>@import url(http://example.invalid/x.css); body{display:none} .bpu-drawing .b,main{fill:lime} .bpu-drawing .b{fill:#123456;background:url(http://example.invalid/c)}</style>
      <foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><img src="x" onerror="window.owned=3"/></body></foreignObject>
      <image href="http://example.invalid/x.png" width="9" height="9"/><use href="http://example.invalid/y.svg#a"/>
      <a xlink:href="javascript:window.owned=4"><text y="20">click</text></a>
      <animate attributeName="href" values="javascript:window.owned=5"/>
      <g id="node-0" class="node" data-node="conv0" onclick="window.owned=6" style="fill:red;background:url(http://example.invalid/z)"><rect class="b" width="40" height="30" fill="url(http://example.invalid/f)"/></g>
      <g id="main"/></svg>`,
            }),
        );
        await check(page, models.legal('hostile'));
        await drawn(page);
        const left = await page.$eval('#canvas > svg', (s) => ({
            tags: [...new Set([...s.querySelectorAll('*')].map((e) => e.localName))].sort(),
            attributes: [...s.querySelectorAll('*')]
                .flatMap((e) => [...e.attributes].map((a) => `${a.name}=${a.value}`))
                .filter((a) => /^on|script|example|^style/.test(a)),
        }));
        assert.deepEqual(left.tags, ['a', 'g', 'rect', 'text', 'use']);
        assert.deepEqual(left.attributes, []);
        assert.equal(await page.getAttribute('#canvas > svg', 'onload'), null);
        assert.equal(await page.getAttribute('#node-0', 'fill'), 'red');
        assert.equal(
            await page.$eval('#node-0 rect', (r) => getComputedStyle(r).fill),
            'rgb(18, 52, 86)',
            'the rules of the drawing count',
        );
        assert.equal(await page.isVisible('main'), true, 'rules for the page do not');
        assert.equal(await page.locator('[id=main]').count(), 1, 'ids of the page stay its own');
        await page.locator('#node-0').click();
        assert.equal(await page.evaluate(() => window.owned), undefined);
    });
});
