// @ts-check
/** How wide an element is, without making the browser lay the page out in the middle of drawing. */

export class Width {
  /** @param {Element} element @param {() => void} changed called when it has got another width */
  constructor(element, changed) {
    this._element = element;
    this._value = 0;
    new ResizeObserver(([entry]) => {
      const value = Math.floor(entry.contentRect.width);
      if (value === this._value) return;
      this._value = value;
      changed();
    }).observe(element);
  }

  /** Whole pixels; 0 while it is not in the page. */
  get value() {
    return this._value || this._element.clientWidth;
  }
}
